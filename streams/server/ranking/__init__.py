"""Ranking on demand: the recommender's pipeline, asked by the server's callers."""
