"""The demo: its data and its score."""
