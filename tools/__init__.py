"""Everything behind ``headrace COMMAND``; ``tools.main`` is the entry."""
