"""The embedded model server: what a detector's client needs of `tensorflow_model_server`, in Python.

The only package besides the exporter that imports TensorFlow, and only in `loading/saved_model.py`.
"""
