"""A trained Keras model becomes a versioned SavedModel that describes itself."""
