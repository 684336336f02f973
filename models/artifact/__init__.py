"""The trained model as a folder of safetensors and JSON: written, checked and read."""
