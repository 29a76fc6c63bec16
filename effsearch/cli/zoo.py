"""`effsearch zoo`, `describe`, `sample`: what can be built."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from effsearch.cli import AnyTarget, JsonFlag, ResolutionFlag, emit_json, seed_option, show


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("zoo")(list_zoo)
    app.command("describe")(describe)
    app.command("sample")(sample)


def list_zoo(
    task: Annotated[
        str, typer.Option("--task", help="classification, segmentation or detection.")
    ] = "classification",
    as_json: JsonFlag = False,
) -> None:
    """List the published networks that the space spans, and what was published of them."""
    if task == "segmentation":
        _list_segmenters(as_json)
    elif task == "detection":
        _list_detectors(as_json)
    elif task == "classification":
        _list_classifiers(as_json)
    else:
        from searchspace import UserError

        raise UserError(f"--task: {task} is unknown; use classification, segmentation or detection")


def _list_segmenters(as_json: bool) -> None:
    from effsearch.published import dense_results
    from searchspace import operators, zoo
    from searchspace.resolution import resolution_text

    records = {r.network: r for r in dense_results() if r.task == "segmentation"}
    rows: list[dict[str, Any]] = []
    for name in zoo.names(task="segmentation"):
        architecture, record = zoo.load(name), records[name]
        parts = operators(architecture, "train")
        rows.append(
            {
                "name": name,
                "family": "EfficientViT",
                "resolution": architecture.resolution,
                "classes": architecture.num_classes,
                "params": sum(o.params for o in parts),
                "macs": sum(o.macs for o in parts),
                "dataset": record.dataset,
                "miou": record.value,
                "source": record.source,
            }
        )
    if as_json:
        emit_json({"networks": rows})
        return
    show(f"{'network':<32}{'image':>11}{'params':>9}{'MACs':>10}  mIoU (published)")
    for row in rows:
        show(
            f"{row['name']:<32}{resolution_text(row['resolution']):>11}"
            f"{row['params'] / 1e6:>8.2f}M{row['macs'] / 1e9:>9.1f}G  {row['miou']:.1f} % on "
            f"{row['dataset']}"
        )


def _list_detectors(as_json: bool) -> None:
    from effsearch.published import dense_results

    rows = [asdict(r) for r in dense_results() if r.task == "detection"]
    if as_json:
        emit_json({"results": rows})
        return
    show(f"{'backbone':<22}{'detector':<16}{'image':>11}  published on COCO")
    for row in rows:
        show(
            f"{row['network']:<22}{row['head']:<16}{row['resolution']:>11}  {row['metric']} "
            f"{row['value']:.1f} %"
        )


def _list_classifiers(as_json: bool) -> None:
    from effsearch.published import published
    from searchspace import operators, zoo

    rows: list[dict[str, Any]] = []
    for name in zoo.names():
        architecture = zoo.load(name)
        parts = operators(architecture, "train")
        record = published()[name]
        rows.append(
            {
                "name": name,
                "family": record.family,
                "resolution": architecture.resolution,
                "params": sum(o.params for o in parts),
                "macs": sum(o.macs for o in parts),
                "top1": record.top1,
                "distilled": record.distilled,
                "source": record.source,
            }
        )
    if as_json:
        emit_json({"networks": rows})
        return
    show(f"{'network':<20}{'family':<14}{'params':>9}{'MACs':>9}  ImageNet top-1 (published)")
    for row in rows:
        note = " with distillation" if row["distilled"] else ""
        show(
            f"{row['name']:<20}{row['family']:<14}{row['params'] / 1e6:>8.2f}M"
            f"{row['macs'] / 1e9:>8.2f}G  {row['top1']:.1f} %{note}"
        )


def describe(
    target: AnyTarget,
    resolution: ResolutionFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Show parameters, MACs and shapes, stage by stage."""
    from effsearch.targets import control_flow_note, load_target
    from searchspace.operators import operators, operators_by_unit, peak_bytes, totals

    found = load_target(target).at(resolution)
    deployed = found.operators()
    body: dict[str, Any] = {
        "target": target,
        "form": "deploy",
        "params": sum(o.params for o in deployed),
        "macs": sum(o.macs for o in deployed),
        "weight_bytes": sum(o.weight_bytes for o in deployed),
        "peak_memory_bytes": peak_bytes(deployed),
        "operators": totals(deployed),
    }
    if found.architecture is not None:
        trained = operators(found.architecture, "train")
        body |= {
            "digest": found.architecture.digest(),
            "resolution": found.architecture.resolution,
            "params": sum(o.params for o in trained),
            "macs": sum(o.macs for o in trained),
            "deployed_macs": sum(o.macs for o in deployed),
            "units": [
                {
                    "name": placed.name,
                    "stage": placed.stage,
                    "type": placed.unit.type,
                    "input_shape": list(placed.unit.input_shape),
                    "output_shape": list(parts[-1].output_shape if parts else ()),
                    "params": sum(o.params for o in parts),
                    "macs": sum(o.macs for o in parts),
                }
                for placed, parts in operators_by_unit(found.architecture, "train")
            ],
        }
    if as_json:
        emit_json(body)
        return
    show(
        f"{target}: {body['params'] / 1e6:.3f} M parameters, {body['macs'] / 1e6:.1f} M MACs; "
        f"deployed {body['weight_bytes'] / 1e6:.2f} MB of weights, at most "
        f"{body['peak_memory_bytes'] / 1e6:.2f} MB of activations at once (batch 1, float32)"
    )
    for unit in body.get("units", []):
        shape = "x".join(map(str, unit["output_shape"]))
        show(
            f"  {unit['name']:<26}{unit['type']:<26}{shape:<18}{unit['params'] / 1e3:>10.1f} k"
            f"{unit['macs'] / 1e6:>10.2f} M"
        )
    note = control_flow_note(o.op for o in deployed)
    if note:
        show(note)
    show("deployed operators:")
    for kind, row in sorted(body["operators"].items(), key=lambda item: -item[1]["macs"]):
        show(
            f"  {kind:<18}{row['count']:>5}{row['macs'] / 1e6:>12.2f} M MACs"
            f"{row['bytes'] / 1e6:>10.2f} MB moved (float32)"
        )


def sample(
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")],
    space: Annotated[str, typer.Option("--space", help="Space name or YAML file.")] = "mobile",
    count: Annotated[int, typer.Option("-n", help="How many.")] = 1,
    seed: Annotated[int, seed_option("Of every random choice.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write random architectures of a space as YAML files."""
    import numpy as np

    from effsearch.files import file_name
    from searchspace import SearchSpace, UserError

    if count < 1:
        raise UserError(f"-n: {count} is not 1 or more")
    loaded = SearchSpace.load(space)
    rng = np.random.default_rng(seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
        paths = []
        for index in range(count):
            path = out / f"{file_name(loaded.name, 'space')}-{seed}-{index:04d}.yaml"
            loaded.sample(rng).to_yaml(path)
            paths.append(str(path))
    except OSError as error:
        raise UserError(f"--out: cannot write to {out}: {error.strerror}") from None
    if as_json:
        emit_json({"architectures": paths})
    else:
        show("\n".join(paths))
