"""What is broken on purpose, one kind a file."""
