"""Items and users on their topics: read, put, listed and deleted."""
