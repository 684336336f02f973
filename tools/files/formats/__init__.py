"""Containers, encodings and formats of files: from bytes on a disk to rows and records."""
