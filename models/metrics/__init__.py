"""Metrics of ranked lists, of sets and of probabilities, with intervals and a test of two models."""
