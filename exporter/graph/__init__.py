"""Build the TensorFlow graph of a served model."""
