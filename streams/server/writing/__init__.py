"""From the body of a request to records on the topics."""
