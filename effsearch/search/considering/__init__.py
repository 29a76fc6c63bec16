"""Considering a million networks: a search on encoded populations, priced and scored at once."""
