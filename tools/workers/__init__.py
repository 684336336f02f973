"""Workers as processes: started, watched, signalled and stopped."""
