"""How workers follow the topics of announcements, and answer on ``receipts``."""
