"""Measurements side by side with peers, one subject a file."""
