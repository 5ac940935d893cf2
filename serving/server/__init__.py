"""The embedded model server: the part of `tensorflow_model_server` that a detector's client needs, in Python.

Besides the exporter, only this package imports TensorFlow, and only in `loading/`.
"""
