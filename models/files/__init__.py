"""Files that strangers may have written: opened without following links, read within limits."""
