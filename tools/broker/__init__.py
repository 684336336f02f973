"""The local broker: its engines, its jars, and the record of what was started."""
