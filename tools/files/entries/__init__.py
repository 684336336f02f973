"""Catalogues and users in files: what names them, and what reads them as records of the contract."""
