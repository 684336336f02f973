"""How a worker forgets users: it follows the requests, keeps their marks, and has data erased."""
