"""What the training commands share: inputs, fitting and checks."""
