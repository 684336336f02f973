"""Counts what users do now, so that recent popularity follows the stream."""
