"""The acts in the scripts of drills.

Foreign clients, operators, and people who replay do them.
"""
