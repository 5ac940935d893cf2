"""Read the weights, labels and code of trained models."""
