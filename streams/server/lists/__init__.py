"""The newest list of each user, and what of it may be shown now."""
