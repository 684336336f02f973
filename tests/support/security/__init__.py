"""A broker with TLS, SASL and ACLs for tests, and what its clients need."""
