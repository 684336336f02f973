"""The workers as processes: how they are started, watched, signalled and stopped."""
