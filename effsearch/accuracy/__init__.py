"""Accuracy score sources behind one interface."""
