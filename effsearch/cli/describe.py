"""`effsearch describe`, `sample`: one network in figures, and random ones of a space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from effsearch.cli import AnyTarget, JsonFlag, ResolutionFlag, emit_json, seed_option, show


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("describe")(describe)
    app.command("sample")(sample)


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
