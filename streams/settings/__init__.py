"""Every setting: its name, its check, its secret files, and where it is read from."""
