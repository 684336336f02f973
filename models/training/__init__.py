"""Training of a whole artifact from a log and a catalogue."""
