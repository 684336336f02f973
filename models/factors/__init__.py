"""Matrix factorisation and item neighbours: what users and items have in common."""
