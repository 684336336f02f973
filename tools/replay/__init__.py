"""Publishing a historical log: its identity, its checkpoint, and who is live already."""
