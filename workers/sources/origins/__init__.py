"""The ways to name a job's images: files, archives, folders, manifests, single items."""
