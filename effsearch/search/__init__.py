"""The search: a durable multi-objective Optuna study under a latency budget."""

from effsearch.search.records import Candidate, Outcome, Record
from effsearch.search.request import SearchRequest

__all__ = ["Candidate", "Outcome", "Record", "SearchRequest"]
