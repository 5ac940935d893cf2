"""The queue of images: claims, leases, wake-ups, and the sweep that repairs what a dead worker left."""
