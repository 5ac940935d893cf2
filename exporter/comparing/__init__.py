"""Compare an exported version with the model that it was made of."""
