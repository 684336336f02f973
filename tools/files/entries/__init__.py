"""Catalogues and users in files: how they are named, and read as records of the contract."""
