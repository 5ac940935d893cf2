"""The command `shelfline detect`: photos as jobs of a bounded size, resumed after any crash."""
