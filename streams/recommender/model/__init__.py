"""The model of a recommender: how it is opened, the thread that runs it, and windows that it cannot take."""
