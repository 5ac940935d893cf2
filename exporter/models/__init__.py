"""The models that can be exported: one recipe per file."""
