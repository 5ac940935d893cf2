"""Run the embedded model server: `python -m serving`."""

from __future__ import annotations

from serving.server.app import main

main()
