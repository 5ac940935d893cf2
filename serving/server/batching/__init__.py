"""Merge requests into batches, as TensorFlow Serving does."""
