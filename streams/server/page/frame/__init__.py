"""The frame of every page: language and colours, texts, static files, security headers."""
