"""Drills break things on purpose, under load, and compare the outcome with the oracle."""
