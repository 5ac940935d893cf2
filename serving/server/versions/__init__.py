"""The versions of each model: find, load, serve and unload them."""
