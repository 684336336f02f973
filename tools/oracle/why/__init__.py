"""Explains a published list from what the topics hold: why an item is in it, or is not."""
