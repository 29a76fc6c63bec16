"""Considering very many networks: a search on encoded populations, priced and scored at once."""
