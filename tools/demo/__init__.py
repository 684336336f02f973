"""The demo: its data, its steps, its report and its score."""
