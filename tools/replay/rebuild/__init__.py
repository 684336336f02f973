"""Rebuilding from history: a run beside the live topics, its comparison and its promotion."""
