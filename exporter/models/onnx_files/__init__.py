"""Export detectors in ONNX files. This needs the extra `onnx`."""
