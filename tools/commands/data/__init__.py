"""Commands that write and read topics: events, catalogue, users, lists, rejected events."""
