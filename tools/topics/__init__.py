"""Reading topics for a person or a tool, without a consumer group."""
