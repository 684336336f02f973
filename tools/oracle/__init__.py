"""The windows and lists that must come of a log, and how they differ from those that came."""
