"""From a window of behaviours to a user vector: the model, its training and its validation."""
