"""Tell what a model is, what its outputs mean, and draft its contract."""
