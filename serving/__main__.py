"""`python -m serving`: the embedded model server."""

from __future__ import annotations

from serving.server.app import main

main()
