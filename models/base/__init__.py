"""What all models share: names of types, of events and of states, and where PyTorch computes."""
