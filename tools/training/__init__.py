"""Reads the inputs of a training, checks them and trains: the part that several commands share."""
