"""Side features of users and items as columns, and what fills missing values."""
