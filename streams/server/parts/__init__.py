"""What handlers are given: the lists, the items, the settings, and whether all is read."""
