"""How a command announces a change to the running workers, and waits for their receipts."""
