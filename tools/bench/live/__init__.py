"""A load on running workers, and what the workers say about themselves meanwhile."""
