"""The forms of a submission: files, single items, an archive, a folder, a location, a manifest."""
