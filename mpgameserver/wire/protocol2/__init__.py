"""The bytes of docs/protocol2.md: the handshake, the keys, and what a session opens with.

Nothing here keeps state, reads a clock or decides. The packets themselves are compiled:
`_core.packet_protection` and `_core.frames`.
"""
