"""The versions of a model on disk: written, listed, verified and rolled back."""
