"""Image data, recipes and training of single networks."""
