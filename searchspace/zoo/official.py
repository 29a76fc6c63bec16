"""Official checkpoints: their own keys, translated into ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from searchspace.architecture import Architecture
from searchspace.errors import UserError
from searchspace.network import Network, build
from searchspace.schema import SEGMENTATION
from searchspace.zoo.published import load

Rules = list[tuple[str, str]]

# A rule rewrites the first match in our key; rules apply in order. Ours -> theirs.
_CONV_BN: Rules = [(r"\.conv\.", ".c."), (r"\.norm\.", ".bn.")]


def load_official(
    name: str, state_dict: Mapping[str, Any], num_classes: int | None = None
) -> Network:
    """Return a published network with the weights of its official checkpoint, in eval mode.

    Args:
        name: one of `zoo.names()`.
        state_dict: the checkpoint: the weights, or a mapping with them under `model` or
            `state_dict`. 2-D weights of 1x1 convolutions are expanded, as SHViT's own loader does.
        num_classes: classes of the checkpoint; None for the network's own.

    Raises:
        UserError: where a key is missing, unknown or misshapen; names it.
    """
    architecture = load(name)
    network = build(architecture, num_classes).eval()
    given = _weights(name, state_dict)
    own = network.state_dict()
    keys = official_keys(network, architecture)
    loaded: dict[str, Tensor] = {}
    for key, theirs in keys.items():
        if theirs not in given:
            if key.endswith("num_batches_tracked"):
                continue
            raise UserError(f"{name}: the checkpoint has no key {theirs!r}")
        loaded[key] = _fitted(name, theirs, given[theirs], own[key])
    extra = sorted(set(given) - set(keys.values()), key=str)
    if extra:
        more = f" (and {len(extra) - 1} more)" if len(extra) > 1 else ""
        raise UserError(f"{name}: the checkpoint has an unknown key {extra[0]!r}{more}")
    network.load_state_dict(loaded, strict=False)
    return network


def official_keys(network: nn.Module, architecture: Architecture) -> dict[str, str]:
    """Return the official name of each of our keys."""
    translate = _translator(architecture)
    return {key: translate(key) for key in network.state_dict()}


def official_classes(name: str, state_dict: object) -> int:
    """Return the classes of an official checkpoint: of its classifier's bias, or the network's own.

    Raises:
        UserError: no published network has that name, or the checkpoint is no mapping.
    """
    weights = _weights(name, state_dict)
    for bias in ("head.l.bias", "head.bias", "head.op_list.3.linear.bias"):
        value = weights.get(bias)
        if isinstance(value, Tensor) and value.dim() == 1:
            return len(value)
    return load(name).num_classes


def _weights(name: str, state_dict: object) -> Mapping[str, Any]:
    if not isinstance(state_dict, Mapping):
        raise UserError(f"{name}: a checkpoint is a mapping of keys to tensors")
    for wrapper in ("model", "state_dict"):
        inner = state_dict.get(wrapper)
        if isinstance(inner, Mapping):
            return inner
    return state_dict


def _fitted(name: str, key: str, value: object, like: Tensor) -> Tensor:
    if not isinstance(value, Tensor):
        try:
            value = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise UserError(f"{name}: {key!r} is not a tensor") from None
    if value.dim() == 2 and like.dim() == 4 and tuple(like.shape[2:]) == (1, 1):
        value = value[:, :, None, None]
    if value.shape != like.shape:
        raise UserError(
            f"{name}: {key!r} has shape {list(value.shape)}, expected {list(like.shape)}"
        )
    return value.to(like.dtype)


def _translator(architecture: Architecture) -> Callable[[str], str]:
    family = architecture.stem.type
    return {
        "shvit": _shvit,
        "efficientmod": _efficientmod,
        "swiftformer": _swiftformer,
        "efficientvit": _efficientvit,
    }[family](architecture)


def _apply(rules: Rules, key: str) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key, count=1)
    return key


def _shvit(architecture: Architecture) -> Callable[[str], str]:
    rules: Rules = [
        (r"^(.*)\.project\.(conv|norm)\.", r"\1.project.\2."),
        (r"conv\.branch\.", "conv.m."),
        (r"(mixer|ffn)\.branch\.", r"\1.m."),
        (r"\.m\.expand\.", ".m.pw1."),
        (r"(ffn\.m)\.project\.", r"\1.pw2."),
        (r"(mixer\.m)\.project\.", r"\1.proj.1."),
        (r"(mixer\.m)\.norm\.", r"\1.pre_norm."),
        (r"\.conv\.(weight|bias)$", r".c.\1"),
        (r"\.norm\.(\w+)$", r".bn.\1"),
    ]

    def translate(key: str) -> str:
        part, rest = key.split(".", 1)
        if part == "head":
            return "head." + _apply([(r"^norm\.", "bn."), (r"^linear\.", "l.")], rest)
        if part == "stem":
            index, rest = rest.split(".", 1)
            return f"patch_embed.{2 * int(index)}.{_apply(_ends(), rest)}"
        _, stage, place, rest = key.split(".", 3)
        number = int(stage) + 1
        if place == "downsample":
            return f"blocks{number}." + _shvit_downsample(rest)
        index, rest = rest.split(".", 1)
        offset = 0 if architecture.stages[int(stage)].downsample is None else 3
        return f"blocks{number}.{int(index) + offset}." + _apply(rules, rest)

    return translate


def _ends() -> Rules:
    return [(r"(^|\.)conv\.(weight|bias)$", r"\1c.\2"), (r"(^|\.)norm\.(\w+)$", r"\1bn.\2")]


def _shvit_downsample(key: str) -> str:
    rules: Rules = [
        (r"^before\.0\.branch\.", "0.0.m."),
        (r"^before\.1\.branch\.expand\.", "0.1.m.pw1."),
        (r"^before\.1\.branch\.project\.", "0.1.m.pw2."),
        (r"^after\.0\.branch\.", "2.0.m."),
        (r"^after\.1\.branch\.expand\.", "2.1.m.pw1."),
        (r"^after\.1\.branch\.project\.", "2.1.m.pw2."),
        (r"^expand\.", "1.conv1."),
        (r"^depthwise\.", "1.conv2."),
        (r"^project\.", "1.conv3."),
        (r"^gate\.reduce\.", "1.se.fc1."),
        (r"^gate\.expand\.", "1.se.fc2."),
    ]
    return _apply(rules + _ends(), key)


def _efficientmod(architecture: Architecture) -> Callable[[str], str]:
    rules: Rules = [
        (r"^value\.", "mlp.fc1."),
        (r"^context\.enter\.", "mlp.context_layer.f."),
        (r"^context\.leave\.", "mlp.context_layer.g."),
        (r"^context\.conv\.", "mlp.context_layer.context_list.0."),
        (r"^scale\.gamma$", "gamma_1"),
        (r"^attention\.qkv\.", "attn.qkv."),
        (r"^attention\.project\.", "attn.proj."),
        (r"^expand\.", "mlp.fc1."),
    ]

    def translate(key: str) -> str:
        part, rest = key.split(".", 1)
        if part == "head":
            return rest if rest.startswith("norm.") else rest.replace("linear.", "head.")
        if part == "stem":
            return "patch_embed." + rest.replace("project.", "proj.")
        _, stage, place, rest = key.split(".", 3)
        if place == "downsample":
            return f"layers.{int(stage) - 1}.downsample." + rest.replace("conv.", "proj.")
        index, rest = rest.split(".", 1)
        return f"layers.{stage}.blocks.{index}." + _apply(
            [*rules, (r"^project\.", "mlp.fc2.")], rest
        )

    return translate


def _swiftformer(architecture: Architecture) -> Callable[[str], str]:
    encoder: Rules = [
        (r"depthwise\.", "dwconv."),
        (r"expand\.", "pwconv1."),
        (r"project\.", "pwconv2."),
        (r"scale\.gamma$", "layer_scale"),
    ]
    attention: Rules = [
        (r"^mixer\.attention\.query\.", "attn.to_query."),
        (r"^mixer\.attention\.key\.", "attn.to_key."),
        (r"^mixer\.attention\.score$", "attn.w_g"),
        (r"^mixer\.attention\.project\.", "attn.Proj."),
        (r"^mixer\.attention\.final\.", "attn.final."),
        (r"^mixer_scale\.gamma$", "layer_scale_1"),
        (r"^mlp_scale\.gamma$", "layer_scale_2"),
        (r"^mlp\.norm\.", "linear.norm1."),
        (r"^mlp\.expand\.", "linear.fc1."),
        (r"^mlp\.project\.", "linear.fc2."),
    ]

    def translate(key: str) -> str:
        part, rest = key.split(".", 1)
        if part == "head":
            return _apply([(r"^linear\.", "head."), (r"^distilled\.", "dist_head.")], rest)
        if part == "stem":
            index, rest = rest.split(".", 1)
            offset, rest = rest.split(".", 1)
            return f"patch_embed.{3 * int(index) + (offset == 'norm')}.{rest}"
        _, stage, place, rest = key.split(".", 3)
        if place == "downsample":
            rest = _apply([(r"^0\.conv\.", "proj."), (r"^0\.norm\.", "norm.")], rest)
            return f"network.{2 * int(stage) - 1}.{rest}"
        index, rest = rest.split(".", 1)
        if rest.startswith("local."):
            rest = "local_representation." + _apply(encoder, rest.removeprefix("local."))
        elif rest.startswith(("mixer", "mlp")):
            rest = _apply(attention, rest)
        else:
            rest = _apply(encoder, rest)
        return f"network.{2 * int(stage)}.{index}.{rest}"

    return translate


def _efficientvit(architecture: Architecture) -> Callable[[str], str]:
    local: Rules = [
        (r"expand\.", "inverted_conv."),
        (r"depthwise\.", "depth_conv."),
        (r"project\.", "point_conv."),
    ]
    context: Rules = [
        (r"^context\.branch\.qkv\.", "context_module.main.qkv.conv."),
        (r"^context\.branch\.aggregations\.", "context_module.main.aggreg."),
        (r"^context\.branch\.project\.", "context_module.main.proj."),
    ]

    def translate(key: str) -> str:
        part, rest = key.split(".", 1)
        if part == "laterals" or (part == "head" and architecture.task == SEGMENTATION):
            return _efficientvit_seg(architecture, part, rest)
        if part == "head":
            rules: Rules = [
                (r"^conv\.", "0."),
                (r"^hidden\.", "2.linear."),
                (r"^norm\.", "2.norm."),
                (r"^linear\.", "3.linear."),
            ]
            return "head.op_list." + _apply(rules, rest)
        if part == "stem":
            rest = _apply([(r"\.branch\.", ".main."), *local], rest)
            return "backbone.input_stem.op_list." + rest
        _, stage, place, rest = key.split(".", 3)
        prefix = f"backbone.stages.{stage}.op_list."
        if place == "downsample":
            return prefix + "0.main." + _apply(local, rest)
        index, rest = rest.split(".", 1)
        if rest.startswith("context."):
            rest = _apply(context, rest)
        elif rest.startswith("local."):
            rest = "local_module.main." + _apply(local, rest.removeprefix("local.branch."))
        else:
            rest = "main." + _apply(local, rest.removeprefix("branch."))
        return f"{prefix}{int(index) + 1}.{rest}"

    return translate


def _efficientvit_seg(architecture: Architecture, part: str, key: str) -> str:
    head = architecture.head.option
    if part == "head":
        expands = 1 if head["final_expansion"] else 0
        rules: Rules = [
            (r"^expand\.", "output_ops.0.op_list.0."),
            (r"^classify\.", f"output_ops.0.op_list.{expands}.conv."),
            (r"^blocks\.(\d+)\.branch\.", r"middle.op_list.\1.main."),
            (r"main\.expand\.", "main.inverted_conv."),
            (r"main\.depthwise\.", "main.depth_conv."),
            (r"main\.project\.", "main.point_conv."),
        ]
        return "head." + _apply(rules, key)
    number, rest = key.split(".", 1)
    count, stride = head["stages"], head["stride"]
    assert isinstance(count, int)
    # Theirs begin with the last stage; where a map is enlarged there is a list.
    reduction = architecture.reductions[len(architecture.stages) - count + int(number)]
    listed = "" if reduction == stride else "op_list.0."
    own = rest.removeprefix("conv.")
    return f"head.input_ops.{count - 1 - int(number)}.{listed}{own}"
