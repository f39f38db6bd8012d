"""The second wire protocol a second time, written from docs/protocol2.md alone.

It imports nothing from the package, so that a misreading of the page would have to be made twice
to go unseen. It is plain rather than quick, and where the page says that a receiver rejects, it
raises `WireError`. What it packs it does not check: a test may want to send what is wrong.

- `fields`: integers, byte strings, extension blocks
- `handshake`: the unencrypted packets
- `keys`: the key schedule, signatures, ML-KEM
- `packets`: sealed packets
- `frames`: the contents of a sealed packet
- `tables`: connect data and accept data
- `rules`: which frames a packet may hold, by its sender and the state of the session
- `tokens`: cookies and reset tokens of this implementation
- `peer`: a whole side of a session, put together from all of these
"""
