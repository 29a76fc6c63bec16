"""`effsearch zoo`: the published networks, and their official checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from effsearch.cli import JsonFlag, emit_json, show
from searchspace.errors import UserError

_Rows = list[dict[str, Any]]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer()
    group.callback(invoke_without_command=True)(list_zoo)
    group.command("get")(get)
    app.add_typer(group, name="zoo")


def list_zoo(
    context: typer.Context,
    task: Annotated[
        str, typer.Option("--task", help="classification, segmentation or detection.")
    ] = "classification",
    as_json: JsonFlag = False,
) -> None:
    """List the published networks that the space spans, and what was published of them."""
    if context.invoked_subcommand is not None:
        return
    if task not in _TASKS:
        *most, last = _TASKS
        raise UserError(f"--task: {task} is unknown; use {', '.join(most)} or {last}")
    key, find, lines = _TASKS[task]
    rows = find()
    if as_json:
        emit_json({key: rows})
        return
    for line in lines(rows):
        show(line)


def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A published network.")],
    as_json: JsonFlag = False,
) -> None:
    """Fetch a published network's official checkpoint, and check it; `train --init` uses it."""
    from effsearch.files import file_sha256
    from effsearch.progress import Meter
    from effsearch.training import official

    with Meter() as meter:
        begun = False

        def report(done: int, total: int | None) -> None:
            nonlocal begun
            if not begun:
                meter.start(total or 0, done)
                begun = True
            of = "" if total is None else f" of {total / 1e6:.1f}"
            meter.update(done, f"{name}: {done / 1e6:.1f}{of} MB")

        path = official.get(name, report)
    found = official.official(name)
    size, sha256 = path.stat().st_size, file_sha256(path)
    if as_json:
        facts = {"name": name, "path": str(path), "bytes": size, "sha256": sha256}
        emit_json({**facts, "url": found.where, **found.origin.model_dump()})
        return
    show(f"{path}: {size / 1e6:.1f} MB, SHA-256 {sha256}")
    show(f"of {found.origin.repository}, licence {found.origin.licence}; its weights fit {name}")


def _networks(task: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the published networks for a task: name, and what every list shows of them."""
    from effsearch.training import official
    from searchspace import operators, zoo

    for name in zoo.names(task=task):
        architecture = zoo.load(name)
        parts = operators(architecture, "train")
        found = official.official(name)
        yield (
            name,
            {
                "name": name,
                "resolution": architecture.resolution,
                "params": sum(o.params for o in parts),
                "macs": sum(o.macs for o in parts),
                "checkpoint": {
                    "url": found.url,
                    "page": found.page,
                    "licence": found.origin.licence,
                    "here": official.official_path(name).is_file(),
                },
            },
        )


def _checkpoint(row: dict[str, Any]) -> str:
    """Return in a word how a row's checkpoint is had."""
    found = row["checkpoint"]
    words = {"here": "here", "url": "zoo get", "page": "by hand"}
    return next((word for key, word in words.items() if found[key]), "none")


def _classifiers() -> _Rows:
    from effsearch.published import published

    rows = []
    for name, row in _networks("classification"):
        record = published()[name]
        figures = {key: getattr(record, key) for key in ("family", "top1", "distilled", "source")}
        rows.append(row | figures)
    return rows


def _classifier_lines(rows: _Rows) -> Iterator[str]:
    yield (
        f"{'network':<20}{'family':<14}{'params':>9}{'MACs':>9}  {'checkpoint':<12}"
        "ImageNet top-1 (published)"
    )
    for row in rows:
        note = " with distillation" if row["distilled"] else ""
        yield (
            f"{row['name']:<20}{row['family']:<14}{row['params'] / 1e6:>8.2f}M"
            f"{row['macs'] / 1e9:>8.2f}G  {_checkpoint(row):<12}{row['top1']:.1f} %{note}"
        )


def _segmenters() -> _Rows:
    from effsearch.published import dense_results
    from searchspace import zoo

    records = {r.network: r for r in dense_results() if r.task == "segmentation"}
    rows = []
    for name, row in _networks("segmentation"):
        record = records[name]
        figures = {"dataset": record.dataset, "miou": record.value, "source": record.source}
        classes = zoo.load(name).num_classes
        rows.append(row | {"family": "EfficientViT", "classes": classes} | figures)
    return rows


def _segmenter_lines(rows: _Rows) -> Iterator[str]:
    from searchspace.resolution import resolution_text

    yield (
        f"{'network':<32}{'image':>11}{'params':>9}{'MACs':>10}  {'checkpoint':<12}mIoU (published)"
    )
    for row in rows:
        yield (
            f"{row['name']:<32}{resolution_text(row['resolution']):>11}"
            f"{row['params'] / 1e6:>8.2f}M{row['macs'] / 1e9:>9.1f}G  {_checkpoint(row):<12}"
            f"{row['miou']:.1f} % on {row['dataset']}"
        )


def _detectors() -> _Rows:
    from effsearch.published import dense_results

    return [asdict(r) for r in dense_results() if r.task == "detection"]


def _detector_lines(rows: _Rows) -> Iterator[str]:
    yield f"{'backbone':<22}{'detector':<16}{'image':>11}  published on COCO"
    for row in rows:
        yield (
            f"{row['network']:<22}{row['head']:<16}{row['resolution']:>11}  {row['metric']} "
            f"{row['value']:.1f} %"
        )


# By task: the key of its rows in JSON, the rows, and their lines for people.
_TASKS: dict[str, tuple[str, Callable[[], _Rows], Callable[[_Rows], Iterator[str]]]] = {
    "classification": ("networks", _classifiers, _classifier_lines),
    "segmentation": ("networks", _segmenters, _segmenter_lines),
    "detection": ("results", _detectors, _detector_lines),
}
