"""Why an item is in a list or is not: places in the sources, parts of its score, past items."""
