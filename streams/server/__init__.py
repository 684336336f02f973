"""The HTTP server: it answers over what the topics hold, and owns no truth of its own."""
