"""What is known of this worker's users beside their events: the topic ``users``."""
