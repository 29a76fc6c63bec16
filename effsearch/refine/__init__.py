"""Refining a run: its best candidates and the baseline are trained, and ranked by that."""
