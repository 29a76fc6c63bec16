"""What a run says where nothing meets the limits: the nearest network and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from effsearch.messages import percent
from effsearch.run.request import SearchRequest
from effsearch.search.candidates import Record
from effsearch.search.evaluation import Evaluator
from effsearch.search.measured_here import MeasuredHere
from effsearch.search.references import references
from searchspace import SearchSpace


def nothing_fits(
    request: SearchRequest,
    evaluator: Evaluator,
    records: list[Record],
    space: SearchSpace,
    here: MeasuredHere,
) -> tuple[dict[str, Any] | None, str]:
    """Return the fastest architecture found, as data, and a message on it."""
    members = [r for r in records if r.candidate.member and not r.failed]
    published = _published(request, evaluator, space) + _yours(request, evaluator)
    if not members:
        reason = (
            "could be priced and scored"
            if any(r.candidate.member for r in records)
            else "was tried: the first candidates are published networks; allow more --trials"
        )
        return None, f"no architecture of the space {space.name} {reason}.{published}"
    nearest = min(members, key=lambda r: (r.violation, r.outcome.quantile_ms, r.number))
    prediction = evaluator.table.predict(nearest.candidate.architecture)
    outcome = nearest.outcome
    parts = sorted(prediction.stages(), key=lambda part: -part[1])
    where = ", ".join(f"{name} {ms:.3f} ms" for name, ms, _ in parts)
    others = _other_limits(request)
    also = f" with at most {' and '.join(others)}" if others else ""
    if here.dropped:
        reason = f" ({here.dropped} that should have fit were measured here and took longer)"
    else:
        reason = ""
    what = "nearest to these limits" if others else "fastest"
    sure = percent(request.confidence)
    message = (
        f"no architecture of the space {space.name} is {sure} likely to take at "
        f"most {request.budget_ms:g} ms on {evaluator.table.name}{also}{reason}.\n"
        f"The {what} of {len(members)} candidates of it takes {outcome.mean_ms:.3f} ms "
        f"({prediction.kind}; {sure} likely below {outcome.quantile_ms:.3f} ms), "
        f"with {outcome.params / 1e6:.2f} M parameters and {outcome.macs / 1e6:.0f} M MACs.\n"
        f"Its time goes to: {where}."
    )
    binds = _binding(nearest) if others else []
    if binds:
        message += f"\n{_binding_words(binds, evaluator.table.name, nearest, members)}"
    note = evaluator.table.scope_note(nearest.candidate.architecture)
    message += published + (f"\n{note}" if note else "")
    data = {
        "digest": nearest.candidate.digest,
        "mean_ms": outcome.mean_ms,
        "std_ms": outcome.std_ms,
        "quantile_ms": outcome.quantile_ms,
        "kind": prediction.kind,
        "params": outcome.params,
        "macs": outcome.macs,
        "excess": dict(nearest.excess),
        "binds": binds[0] if binds else None,
        "breakdown": [{"part": n, "mean_ms": ms, "kind": kind} for n, ms, kind in parts],
        "architecture": nearest.candidate.architecture.to_dict(),
    }
    return data, message


def _other_limits(request: SearchRequest) -> list[str]:
    """Return the limits beside the first budget, in words."""
    counted = (
        ("parameters", request.max_params_m, "M"),
        ("MACs", request.max_macs_m, "M"),
        ("activations", request.max_memory_mb, "MB"),
        ("weights", request.max_size_mb, "MB"),
    )
    return [
        *(f"{budget_ms:g} ms on {device}" for device, budget_ms in request.limits.also),
        *(f"{text} {limit:g} {unit}" for text, limit, unit in counted if limit is not None),
    ]


def _binding(nearest: Record) -> list[str]:
    """Return the limits that the nearest candidate exceeds, the one it exceeds most first."""
    return sorted(
        (name for name, excess in nearest.excess.items() if excess > 0),
        key=lambda name: -nearest.excess[name],
    )


def _binding_words(
    binds: Sequence[str], device: str, nearest: Record, members: Sequence[Record]
) -> str:
    words = {
        "latency": f"the budget of {device}",
        "params": "the limit on parameters",
        "macs": "the limit on MACs",
        "memory": "the limit on activations",
        "size": "the limit on weights",
    }
    first, *rest = [
        f"{words.get(name, name.replace('latency on', 'the budget of'))} "
        f"(exceeded by {100 * nearest.excess[name]:.1f} %)"
        for name in binds
    ]
    alone = any(record.excess[binds[0]] <= 0 for record in members)
    reason = (
        "candidates that meet it exceed another limit" if alone else "no candidate meets it at all"
    )
    return f"What binds is {first}: {reason}.{' Then ' + ', '.join(rest) + '.' if rest else ''}"


def _yours(request: SearchRequest, evaluator: Evaluator) -> str:
    """Return a line on the networks that were enqueued, if any were."""
    if not request.enqueue:
        return ""
    named = [f"{o.name} ({evaluator.price(o.network).mean_ms:.3f} ms)" for o in request.enqueue]
    return f"\nYours: {', '.join(named)}."


def _published(request: SearchRequest, evaluator: Evaluator, space: SearchSpace) -> str:
    """Return a line on the published networks that meet the limits, or on the fastest of all."""
    networks = references(space)
    priced = {name: evaluator.price(network) for name, network in networks.items()}
    names = sorted(priced, key=lambda name: priced[name].mean_ms)
    limits = request.limits
    fits = [name for name in names if max(limits.excess(priced[name]).values()) <= 0]
    named = [f"{name} ({priced[name].mean_ms:.3f} ms)" for name in (fits or names)]
    if not named:
        return ""
    if not fits:
        return f"\nNo published network fits; the fastest is {named[0]}."
    more = f" and {len(fits) - 3} more" if len(fits) > 3 else ""
    return f"\nPublished networks that fit: {', '.join(named[:3])}{more}."
