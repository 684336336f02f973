"""The programs that ``headrace bench`` runs, each in a process of its own, and what they read."""
