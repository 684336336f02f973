"""Offline evaluation: splits of a log, baselines, the served pipeline, users without history."""
