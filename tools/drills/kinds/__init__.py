"""The kinds of drills, one a file."""
