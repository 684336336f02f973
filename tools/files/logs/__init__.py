"""Reads logs: rows become events of the contract, in blocks of columns or one by one."""
