"""What the command line does, as functions; `effsearch` offers them at its top."""

from effsearch.api.finding import find
from effsearch.api.questions import devices, measure, predict, score
from effsearch.api.result import Found, Latency, Result, Winner, load

__all__ = [
    "Found", "Latency", "Result", "Winner", "devices", "find", "load", "measure", "predict",
    "score",
]  # fmt: skip
