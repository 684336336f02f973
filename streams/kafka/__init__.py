"""Everything that talks to the broker beside Faust: topics, readers, writers, permissions, connections."""
