"""Forgetting users on request, and proving that nothing is left of them."""
