"""Windows that wait for the model, and the agent that takes no more while too many wait."""
