"""Load a version of a model into memory and warm it up."""
