"""The score sources by name: those of this package, and those that others register.

To add one here, write its module and a line in `BUILT_IN`. Another package adds one by an entry
point of the group `effsearch.scores`, whose name is the source's and whose value is an `Entry`:

    [project.entry-points."effsearch.scores"]
    mine = "my_package.scores:ENTRY"
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from effsearch.accuracy.cityscapes import CityscapesEstimate
from effsearch.accuracy.counted import Counted
from effsearch.accuracy.function_score import FunctionOptions, FunctionScore
from effsearch.accuracy.imagenet import ImagenetEstimate, ImagenetOptions
from effsearch.accuracy.options import ScoreOptions, flag_name
from effsearch.accuracy.score import ScoreSource
from effsearch.accuracy.supernet_options import SupernetOptions
from searchspace.errors import UserError
from searchspace.schema import CLASSIFICATION, SEGMENTATION

DEFAULT = "imagenet"
DEFAULTS = {CLASSIFICATION: DEFAULT, SEGMENTATION: CityscapesEstimate.name}
GROUP = "effsearch.scores"


@dataclass(frozen=True)
class Entry:
    """One score source, as it is registered.

    Attributes:
        name: as in `--proxy NAME`.
        make: makes the source of its options.
        options: what it takes; the flags of the command line are among its fields.
        slow: whether a score takes about a second or more. A search then tries fewer networks, each
            in a process that it can drop, so that Ctrl-C need not wait for a score.
    """

    name: str
    make: Callable[[Any], ScoreSource]
    options: type[ScoreOptions] = ScoreOptions
    slow: bool = False


def _imagenet(options: ImagenetOptions) -> ScoreSource:
    return ImagenetEstimate.load(options=options)


def _cityscapes(options: ScoreOptions) -> ScoreSource:
    return CityscapesEstimate.load()


def _counted(name: str, options: ScoreOptions) -> ScoreSource:
    return Counted(name)


def _zero_cost(options: ScoreOptions) -> ScoreSource:
    # Imports torch's tracing tools, which the others don't need.
    from effsearch.accuracy.zero_cost_source import ZeroCost

    return ZeroCost()


def _supernet(options: SupernetOptions) -> ScoreSource:
    from effsearch.accuracy.supernet_source import SupernetScore

    return SupernetScore(options)


BUILT_IN = (
    Entry(DEFAULT, _imagenet, ImagenetOptions),
    Entry(CityscapesEstimate.name, _cityscapes),
    Entry("zero-cost", _zero_cost, slow=True),
    Entry("supernet", _supernet, SupernetOptions, slow=True),
    Entry(FunctionScore.name, FunctionScore, FunctionOptions, slow=True),
    *(Entry(name, partial(_counted, name)) for name in Counted.UNITS),
)


@cache
def entries() -> Mapping[str, Entry]:
    """Return all sources by name; those of other packages last, and never in place of ours."""
    found = {entry.name: entry for entry in BUILT_IN}
    for point in sorted(entry_points(group=GROUP)):
        found.setdefault(point.name, _outside(point))
    return found


def names() -> tuple[str, ...]:
    """Return the names of all sources."""
    return tuple(entries())


def find(name: str) -> Entry:
    """Return a source's entry.

    Raises:
        UserError: where there is none of that name.
    """
    found = entries().get(name)
    if found is None:
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names())}"
        raise UserError(f"{name}: no such score source; {hint}")
    return found


def read_options(name: str, given: Mapping[str, Any], shared: Collection[str] = ()) -> ScoreOptions:
    """Return a source's options from the flags of a command line.

    Args:
        name: of the source.
        given: values by field; None for a flag that was not given.
        shared: fields whose flags may be there for something else than the score.

    Raises:
        UserError: where there is no such source, it does not take a flag that was given, lacks one
            that it needs, or a value is out of range.
    """
    entry = find(name)
    own = entry.options.flags()
    for field, value in given.items():
        if value is not None and field not in own and field not in shared:
            others = [e.name for e in entries().values() if field in e.options.flags()]
            raise UserError(f"{flag_name(field)}: is for --proxy {' or '.join(others)}, not {name}")
    return entry.options.of_flags(name, {k: v for k, v in given.items() if k in own})


def load_source(name: str = DEFAULT, options: ScoreOptions | None = None) -> ScoreSource:
    """Return a score source.

    Args:
        name: one of `names()`.
        options: what it takes; None for its defaults.

    Raises:
        UserError: where there is none of that name, its options lack something or are of another
            source, or what they name cannot be used.
    """
    entry = find(name)
    if options is None:
        options = read_options(name, {})
    if type(options) is not entry.options:
        raise UserError(
            f"{name}: takes {entry.options.__name__}, not {type(options).__name__}, as options"
        )
    return entry.make(options)


def _outside(point: EntryPoint) -> Entry:
    """Return the entry that a package registered; one that says why where it can't be used."""
    try:
        entry = point.load()
    except Exception as error:  # another package's mistake must not end what doesn't use it
        return Entry(point.name, partial(_refuse, f"cannot be loaded: {error}", point))
    if not isinstance(entry, Entry) or entry.name != point.name:
        return Entry(point.name, partial(_refuse, f"is no Entry named {point.name}", point))
    return entry


def _refuse(reason: str, point: EntryPoint, options: ScoreOptions) -> ScoreSource:
    package = "" if point.dist is None else f" of the package {point.dist.name}"
    raise UserError(f"{point.name}: the score source {point.value}{package} {reason}")
