"""Records that other systems wrote: their shapes, and how they become records of the contract."""
