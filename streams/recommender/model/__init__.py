"""The model of a recommender.

The room opens it, runs it in a thread, and handles windows that it cannot take.
"""
