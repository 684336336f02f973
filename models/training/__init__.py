"""From a log to an artifact."""
