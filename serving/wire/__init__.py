"""TensorFlow Serving's protocol: messages, tensors, responses, gRPC statuses."""
