"""All access to the broker besides Faust: topics, readers, writers, permissions, connections."""
