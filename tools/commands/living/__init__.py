"""Commands that change a deployment while the stream runs."""
