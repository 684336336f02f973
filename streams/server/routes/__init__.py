"""The handlers, one module for each subject."""
