"""The versions of each model: which are found, loaded and served."""
