"""Reads logs, catalogues and users from files, and checks their rows one by one."""
