"""The common case of a record batch, folded by compiled loops over the bytes of its records."""
