"""Says what a drill lost, repeated or got wrong, from what it published and what it read."""
