"""The formats of results: a writer each, pure, fed with results one after the other."""
