"""Connections before a thread takes them over: how requests arrive, and how many connections one caller may have."""
