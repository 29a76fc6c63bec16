"""Latency on a device: tables, predictions with their uncertainty, and how tables are made."""

from effsearch.latency.table import DeviceTable, Prediction

__all__ = ["DeviceTable", "Prediction"]
