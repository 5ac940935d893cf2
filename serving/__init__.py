"""Talking to a model: its contract, its tensors, the Predict client, decoding; and the embedded model server."""
