"""Logs and catalogues in files: containers, formats, and rows checked one by one."""
