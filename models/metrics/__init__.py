"""Metrics of ranked lists, sets and probabilities, with intervals and a test of two models."""
