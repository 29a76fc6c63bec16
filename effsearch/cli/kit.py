"""`effsearch kit` and `calibrate`: a table for a device that cannot run Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from effsearch.cli import JsonFlag, emit_json, say, seed_option, show


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("kit")(kit)
    app.command("calibrate")(calibrate)


def kit(
    device: Annotated[str, typer.Option("--device", help="Name of the table to be.")],
    space: Annotated[str, typer.Option("--space", help="Space name or YAML file.")] = "mobile",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to make; kit-NAME by default.")
    ] = None,
    size: Annotated[int, typer.Option("--networks", help="How many networks.")] = 30,
    seed: Annotated[int, seed_option("Of the choice.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write networks to measure on a device, and a CSV to fill in."""
    from effsearch.latency.calibrate.kit import FIRST, GUIDE, check_name, write_kit
    from effsearch.latency.calibrate.rows import MIN_ROWS
    from searchspace import SearchSpace, UserError

    check_name(device)
    if not MIN_ROWS <= size <= 99:
        raise UserError(f"--networks: {size} is not from {MIN_ROWS} to 99")
    folder = out or Path(f"kit-{device}")
    written = write_kit(device, SearchSpace.load(space), folder, size, seed=seed, report=say)
    if as_json:
        emit_json(
            {
                "device": device,
                "folder": str(written.folder),
                "csv": str(written.csv),
                "networks": len(written.architectures),
                "formats": list(written.formats),
            }
        )
        return
    show(
        f"{written.folder}: {len(written.architectures)} networks ({', '.join(written.formats)}). "
        f"{GUIDE} says how to measure them; fill in {written.csv} (the first {FIRST} give a usable "
        f"table), then run: effsearch calibrate {written.csv}"
    )


def calibrate(
    measurements: Annotated[
        Path,
        typer.Argument(
            help="A kit's measurements.csv, or one like it; or the kit's folder of a benchmark "
            "tool's output, a file for each network."
        ),
    ],
    device: Annotated[
        str | None, typer.Option("--device", help="Name of the table; the CSV's by default.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="A fitted table to start from: its prices are moved."),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option("--guide", help="A table whose times by kind of operator may serve."),
    ] = None,
    refine: Annotated[
        str | None, typer.Option("--refine", hidden=True, help="The old name of --base.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Fit a device's table to networks measured there, and install it.

    Without --base its prices are new ones; --guide then adds another table's times by kind of
    operator to what they may be prices of.
    """
    from effsearch.latency.calibrate import calibration
    from effsearch.latency.calibrate.kit import check_name
    from effsearch.latency.calibrate.outputs import read_outputs
    from effsearch.latency.calibrate.rows import read_rows
    from effsearch.latency.catalogue import is_shipped
    from effsearch.latency.timing.machine import slug
    from searchspace import UserError

    if refine is not None:
        say("--refine is now --base; the old name goes with the next version")
        if base is not None:
            raise UserError("--base and --refine are one option; give --base alone")
        base = refine
    for option, table in (("--base", base), ("--guide", guide)):
        if table is not None:
            _require_table(option, table)
    if base and not calibration.can_move(base) and guide is None:
        say(f"--base {base}: not a fitted table, so it guides; that is --guide from the next "
            "version on")  # fmt: skip
        base, guide = None, base
    if base and guide:
        raise UserError("--base and --guide exclude each other; give one of them")
    if device is not None:
        check_name(device)
    measured = read_outputs(measurements) if measurements.is_dir() else read_rows(measurements)
    name = device or slug(measured.header.get("device", ""))
    if not name:
        raise UserError(f"--device: name the table ({measurements} has no line '# device: NAME')")
    check_name(name)
    if name in (base, guide):
        raise UserError(f"--device: {name} is the table to start from; name the new one otherwise")
    if is_shipped(name):
        say(f"{name} is a shipped table too; the one to be stands before it, until it is removed")
    say(f"fitting {len(measured.rows)} networks of {measurements}")
    if base:
        card = calibration.move(measured, base, name)
    else:
        card = calibration.calibrate(measured, name, guide)
    path = calibration.install(card)
    _report(card, path, calibration.uncertain(card), as_json)


def _require_table(option: str, table: str) -> None:
    from effsearch.latency import DeviceTable
    from searchspace import UserError

    try:
        DeviceTable.load(table)
    except UserError as error:
        raise UserError(f"{option}: {error}") from None


def _report(
    card: dict[str, Any], path: Path, uncertain: list[dict[str, Any]], as_json: bool
) -> None:
    errors = card["held_out"]["leave_network_out"]
    if as_json:
        emit_json(
            {
                "device": card["name"],
                "kind": card["kind"],
                "path": str(path),
                "networks": card["reference_count"],
                "totals": card.get("totals", "refined"),
                "leave_one_out": errors,
                "prices": card["prices"],
                "uncertain": [entry["total"] for entry in uncertain],
            }
        )
        return
    median, low, high = errors["median_error_percent"]
    show(
        f"{card['name']}: fitted to {card['reference_count']} networks; each left out is predicted "
        f"with a median error of {median:.1f} % (90 % interval {low:.1f} to {high:.1f} %), rank "
        f"correlation {errors['spearman'][0]:.3f}"
    )
    if uncertain:
        show("still uncertain (the measured networks say little of them):")
        for entry in uncertain:
            factor = 2.718281828459045 ** entry["std_log"]
            seen = f"{entry['networks']} networks" if entry["networks"] else "never measured"
            show(f"  {entry['total']:<28}within a factor of {factor:.1f} ({seen})")
    else:
        show("no operator's price remains as uncertain as it was before")
    show(f"installed as {path}; use it with --device {card['name']}")
