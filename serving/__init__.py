"""Talk to a model: contract, tensors, Predict client and decoding. Also holds the embedded model server."""
