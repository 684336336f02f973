"""A shop that is made from a seed, and the programs that make its lists."""
