"""The models that can be exported: one recipe a file."""
