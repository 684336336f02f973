"""Matrix factorisation and item neighbours: which users and items go together."""
