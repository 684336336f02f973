"""What the page reads of the topics while somebody looks, and what it sends."""
