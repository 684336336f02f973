"""Files that others may have written: opened without following links, read within limits."""
