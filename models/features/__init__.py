"""Side features of users and items, as columns, and values for what is missing."""
