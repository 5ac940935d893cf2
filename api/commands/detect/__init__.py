"""The command `shelfline detect`: it sends photos as jobs of limited size, and can be resumed after any crash."""
