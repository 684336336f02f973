"""What is known of users beside their events: features and follows, in serving as in evaluation."""
