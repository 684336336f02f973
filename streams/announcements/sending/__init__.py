"""Sends announcements of models and of rules, and waits for the answers."""
