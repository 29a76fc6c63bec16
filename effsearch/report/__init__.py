"""The report of a run folder: the picture of the front and an HTML page that needs no network."""
