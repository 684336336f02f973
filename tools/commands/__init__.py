"""The commands of headrace, one file each: each parses its arguments, calls, and prints."""
