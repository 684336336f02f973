"""Settings: their names, their checks, the files of their secrets, and where they are read from."""
