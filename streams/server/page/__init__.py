"""The page for people: HTML, its texts in two languages, and its static files."""
