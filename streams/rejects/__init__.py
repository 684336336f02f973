"""Rejected events: read, corrected and sent again."""
