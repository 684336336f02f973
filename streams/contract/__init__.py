"""What is on the wire: records, rejects, rights, and rules of producers and consumers."""
