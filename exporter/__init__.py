"""Export a trained model as a version: a SavedModel that describes itself."""
