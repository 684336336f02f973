"""What stands before every handler: keys, rates, request ids, and how a refusal looks."""
