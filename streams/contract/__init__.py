"""What is on the wire: records, topics' roles, rejects, and the rules that producers and consumers rely on."""
