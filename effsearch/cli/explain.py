"""`effsearch explain`: what every single change of a network does to latency, score and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from effsearch.accuracy.registry import DEFAULT, names, read_options
from effsearch.cli import JsonFlag, Target, emit_json, say, show
from effsearch.cli._score_flags import ScoreFlags, with_score_flags
from searchspace import UserError

if TYPE_CHECKING:
    from effsearch.search.single_changes import Effect


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


@with_score_flags
def explain(
    score_flags: ScoreFlags,
    target: Target,
    device: Annotated[str, typer.Option("--device", help="Latency table.")],
    budget_ms: Annotated[
        float | None, typer.Option("--budget-ms", help="Mark the changes that stay within this.")
    ] = None,
    space: Annotated[
        str, typer.Option("--space", help="Space of the changes, by name or YAML file.")
    ] = "mobile",
    confidence: Annotated[
        float, typer.Option("--confidence", help="Probability to meet the budget.")
    ] = 0.8,
    proxy: Annotated[str, typer.Option("--proxy", help=f"{', '.join(names())}.")] = DEFAULT,
    as_json: JsonFlag = False,
) -> None:
    """Explain a network: which single changes save most latency, and which gain most accuracy."""
    from effsearch.search.evaluation import EvaluatorSpec
    from effsearch.search.single_changes import effects, gains, savings
    from effsearch.targets import load_architecture
    from searchspace import SearchSpace

    if budget_ms is not None and not budget_ms > 0:
        raise UserError(f"--budget-ms: {budget_ms} is not a positive number of milliseconds")
    if not 0 < confidence < 1:
        raise UserError(f"--confidence: {confidence} is not between 0 and 1")
    architecture = load_architecture(target)
    evaluator = EvaluatorSpec(device, proxy, confidence, read_options(proxy, score_flags)).make()
    own, found = effects(SearchSpace.load(space), architecture, evaluator)
    if as_json:
        emit_json(
            {
                "target": target,
                "device": evaluator.table.name,
                "score_source": evaluator.source.name,
                **own.to_dict(),
                "changes": [effect.to_dict() for effect in found],
            }
        )
        return
    show(
        f"{target} on {evaluator.table.name}: {own.mean_ms:.3f} ms, at most {own.quantile_ms:.3f} "
        f"({confidence:.1%}); score {own.score:.2f}, at least {own.lower_bound:.2f}; "
        f"{own.params / 1e6:.2f} M parameters"
    )
    _show("Save most latency a point:", savings(found), budget_ms)
    _show("Gain most points a ms:", gains(found), budget_ms)
    say(
        f"{len(found)} single changes within {space}, priced and scored as a search would. "
        f"{evaluator.source.note}"
    )


def _show(title: str, ranked: Sequence[Effect], budget_ms: float | None) -> None:
    from effsearch.search.single_changes import SHOWN

    show(f"\n{title}" + ("" if ranked else " none"))
    if not ranked:
        return
    show(f"  {'ms':>8}{'score':>8}{'bound':>8}{'params, M':>11}  change")
    for e in ranked[:SHOWN]:
        why = ", ".join(f"{name} {points:+.2f}" for name, points in e.reasons)
        over = budget_ms is not None and e.quantile_ms > budget_ms
        show(
            f"  {e.latency_ms:>+8.3f}{e.score:>+8.2f}{e.lower_bound:>+8.2f}"
            f"{e.params / 1e6:>+11.3f}  {e.axis} {e.before} -> {e.after}"
            + (f"  ({why})" if why else "")
            + ("  over budget" if over else "")
        )
