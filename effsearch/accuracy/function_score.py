"""`FunctionScore`: a score that a person's own Python function gives."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from effsearch.accuracy.options import Flag, ScoreOptions
from effsearch.accuracy.score import Score, ScoreSource
from searchspace import Architecture, SearchSpace, UserError

TRIED = "shvit_s1"  # the network that a function is called with before a search begins


class FunctionOptions(ScoreOptions):
    """Which function.

    Attributes:
        score: `module:function`, importable from the working directory. It is run as it is, with
            all that you may do.
    """

    score: Annotated[
        str,
        Flag(
            "Your own code: a function of an Architecture that returns a float or a Score",
            needs="module:function",
        ),
    ]


class FunctionScore(ScoreSource):
    """Calls a function for each architecture.

    A run that is resumed checks that the source text of the function's module is the same, and
    scores are kept over runs as long as it is. Workers import the module themselves; a cluster's
    nodes need it too.
    """

    name = "function"
    kind = "estimated"
    task = None

    def __init__(self, options: FunctionOptions) -> None:
        """Import the function.

        Raises:
            UserError: where it can't be.
        """
        self._text = options.score
        self._function = _imported(options.score)
        self.unit = f"what {options.score} returns"
        self.note = "Your own score; higher is better."
        try:
            source = inspect.getsource(sys.modules[options.score.partition(":")[0]])
        except (OSError, TypeError):  # a module without a text
            source = ""
        self.card = {"score": options.score, "source": source}
        self.repeatable = bool(source)

    def score(self, architecture: Architecture) -> Score:
        """Return what the function returns.

        Raises:
            UserError: where it fails, or returns no finite number.
        """
        try:
            value = self._function(architecture)
        except Exception as error:  # whatever a person's code raises
            raise UserError(f"--score {self._text}: {type(error).__name__}: {error}") from error
        parts = value if isinstance(value, Score) else (value, 0.0)
        try:
            score, std = (float(part) for part in parts)
        except (TypeError, ValueError):
            score = std = math.nan
        if isinstance(value, bool | str) or not (math.isfinite(score) and math.isfinite(std)):
            raise UserError(f"--score {self._text}: returned {value!r}, which is no finite number")
        return Score(score, std)

    def check(self, space: SearchSpace) -> None:
        """Call the function once, so that its mistakes show before a search begins.

        Raises:
            UserError: where it fails, or returns no finite number.
        """
        from searchspace import zoo

        self.score(zoo.load(TRIED))


def _imported(text: str) -> Callable[[Architecture], Any]:
    module, _, name = text.partition(":")
    if not module or not name:
        raise UserError(f"--score: {text!r} is not module:function")
    here = str(Path.cwd())
    if here not in sys.path:  # a command's own folder stands there, not the working directory
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a person's module raises
        raise UserError(f"--score {text}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UserError(f"--score {text}: {name} is no function")
    function: Callable[[Architecture], Any] = found
    return function
