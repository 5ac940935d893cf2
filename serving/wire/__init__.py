"""TensorFlow Serving's protocol: messages, tensors, statuses."""
