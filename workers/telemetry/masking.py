"""Mask API keys and robots' tokens in texts."""

from __future__ import annotations

import re

# In a query as a client sent it, any character of the name may be percent-encoded.
_NAME = "".join(f"(?:{char}|%{ord(char):02x})" for char in "access_token")
_TOKEN_IN_TEXT = re.compile(rf"({_NAME}(?:=|%3d))[^&\s\"]*", re.IGNORECASE)
_KEY_IN_TEXT = re.compile(r"sl_[0-9A-Za-z]{16,}")


def mask_tokens(text: str) -> str:
    """Return the text with robots' access tokens in URLs replaced by ***."""
    return _TOKEN_IN_TEXT.sub(r"\1***", text)


def mask_keys(text: str) -> str:
    """Return the text with API keys, and robots' access tokens in URLs, replaced by ***."""
    return mask_tokens(_KEY_IN_TEXT.sub("sl_***", text))
