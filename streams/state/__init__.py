"""The state of users: the tables, their recovery from the changelog, and checks of the stores."""
