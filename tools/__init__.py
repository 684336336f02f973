"""One command per file, reached through ``headrace COMMAND``; see ``tools.main``."""
