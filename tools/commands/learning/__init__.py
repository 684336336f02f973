"""Commands that train models, and say what their lists are worth."""
