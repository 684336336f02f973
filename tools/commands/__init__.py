"""The commands of headrace, one file each: which parse and print."""
