"""What the container image needs beside headrace: its Dockerfile and its health check."""
