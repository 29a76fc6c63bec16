"""`effsearch measure` and `profile`: this machine's latencies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from effsearch.cli import JsonFlag, ResolutionFlag, Targets, emit_json, say, seed_option, show

Runtime = Annotated[
    str | None,
    typer.Option("--runtime", help="What runs the networks.  [default: onnxruntime]"),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="Of the arithmetic.  [default: float32]"),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("measure")(measure)
    app.command("profile")(profile)


def measure(
    targets: Targets,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads of one operator; 1 by default.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Time for one network.")] = 1.0,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", help="A table of this machine: its references take turns with the networks."
        ),
    ] = None,
    resolution: ResolutionFlag = None,
    runtime: Runtime = None,
    precision: Precision = None,
    as_json: JsonFlag = False,
) -> None:
    """Run networks here: median milliseconds for one image.

    With --device, on the table's runtime and in its precision, and also what that is at the speed
    at which the table was measured.
    """
    from effsearch.latency.table import DeviceTable
    from effsearch.latency.timing.machine import (
        check_threads,
        cpu_name,
        host,
        matches_this_machine,
    )
    from effsearch.latency.timing.measure import measure_ms
    from effsearch.latency.timing.runtimes import DEFAULT, find_runtime, runtime_of
    from effsearch.latency.timing.with_references import TableSpeedTimer
    from effsearch.targets import load_target
    from searchspace import UserError

    table = DeviceTable.load(device) if device else None
    if table and runtime is None:
        used = runtime_of(table.meta, precision)
    else:
        used = find_runtime(runtime or DEFAULT, precision)
    references = TableSpeedTimer(table, used) if table else None
    if references:
        for difference in matches_this_machine(references.table.meta, used):
            say(f"{references.table.name} is not this machine's: {difference}")
    if threads is None:
        threads = references.threads if references else 1
    check_threads(threads)
    if not 0 < seconds <= 600:
        raise UserError(f"--seconds: {seconds} is not a number above 0 and up to 600")
    found = [load_target(text).at(resolution) for text in targets]
    rows: list[dict[str, Any]] = []
    if not as_json:
        own = used.identity()
        count = f"{threads} thread{'s' if threads > 1 else ''}"
        say(f"{cpu_name()}, {own['runtime']}, {own['precision']}, {count}")
        show(f"{'network':<32}{'median':>10}{'10-90 %':>18}{'runs':>6}")
    for target in found:
        if references:
            m = references(target.model, threads, seconds)
        else:
            m = measure_ms(target.model, threads, seconds=seconds, runtime=used)
        rows.append(
            {
                "target": target.label,
                "kind": "measured",
                "median_ms": m.median_ms,
                "runs": m.runs,
                "threads": m.threads,
                "low_ms": m.low_ms,
                "high_ms": m.high_ms,
                "relative_error": m.relative_error,
                "noisy": m.noisy,
            }
        )
        if references:
            rows[-1] |= {"device": references.table.name, "at_table_speed_ms": m.at_table_speed_ms}
        if not as_json:
            show(
                f"{target.label:<32}{m.median_ms:>7.2f} ms"
                f"{m.low_ms:>9.2f} -{m.high_ms:>7.2f}{m.runs:>6}"
            )
            if m.at_table_speed_ms is not None:
                show(f"{'':<32}{m.at_table_speed_ms:>7.2f} ms at {device}'s speed")
        if m.noisy:
            say(
                f"{target.label}: the machine was not quiet: the median has a standard error of "
                f"{m.relative_error:.1%}, and runs drifted or few were undisturbed"
            )
    if as_json:
        emit_json({"measurements": rows, "host": host(used)})


def profile(
    device: Annotated[str, typer.Option("--device", help="Name of the new table.")],
    space: Annotated[str, typer.Option("--space", help="Space whose networks to run.")] = "mobile",
    minutes: Annotated[float, typer.Option("--minutes", help="Time to spend.")] = 10.0,
    threads: Annotated[int, typer.Option("--threads", help="Threads of one operator.")] = 1,
    zoo: Annotated[
        bool, typer.Option("--zoo/--no-zoo", help="Run the published networks as well.")
    ] = True,
    seed: Annotated[int, seed_option("Which networks of the space.")] = 0,
    work: Annotated[
        Path | None, typer.Option("--work", help="Folder of raw measurements, to resume from.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the table, instead of your own.")
    ] = None,
    runtime: Runtime = None,
    precision: Precision = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure a latency table for this machine; run the same command again to resume."""
    from effsearch.latency.profile.plan import ProfilePlan
    from effsearch.latency.profile.session import make_table
    from effsearch.latency.timing.runtimes import DEFAULT

    plan = ProfilePlan(
        device=device,
        space=space,
        minutes=minutes,
        threads=threads,
        zoo=zoo,
        seed=seed,
        runtime=runtime or DEFAULT,
        precision=precision,
    )
    result = make_table(plan, work=work, out=out, report=say)
    if as_json:
        emit_json(result)
        return
    errors = result["errors"]
    show(
        f"{result['path']}: {result['networks']} networks, {result['entries']} operators; "
        f"networks left out: median error {errors['median']:.1%}, "
        f"90 % within {errors['p90']:.1%}, rank correlation {errors['spearman']:.4f}"
    )
