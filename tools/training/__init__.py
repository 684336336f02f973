"""What the training commands share: inputs and checks."""
