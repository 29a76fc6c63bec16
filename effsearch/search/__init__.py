"""The search: a durable multi-objective Optuna study under a latency budget."""

from effsearch.search.candidates import Candidate, Outcome, Record

__all__ = ["Candidate", "Outcome", "Record"]
