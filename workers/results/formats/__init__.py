"""The formats of results. Each writer is a pure function that is given results one after the other."""
