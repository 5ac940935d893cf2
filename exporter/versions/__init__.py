"""Versions on disk: write, list, verify and roll back."""
