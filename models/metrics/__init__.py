"""Ranking metrics, metrics of probabilities and of sets, and intervals for them."""
