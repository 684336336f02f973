"""The sequence model of a window: its layers, its loss, its training and validation."""
