"""What a run looks like: tables, the picture, and the offline HTML report."""
