"""Commands that start, prepare and check a deployment."""
