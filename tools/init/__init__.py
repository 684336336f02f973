"""Proposes how files are read: what each is, its columns, its times, its event types."""
