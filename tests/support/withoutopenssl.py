"""A pytest plugin that has sessions use the cipher of `cryptography`, as they do where the
interpreter has no OpenSSL to be found: `pytest -p support.withoutopenssl`."""

from __future__ import annotations

from mpgameserver import sessioncipher

sessioncipher.IS_AVAILABLE = False
