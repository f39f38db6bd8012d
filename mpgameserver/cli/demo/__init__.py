"""The command `demo`: a game, a bad network and what became of its messages."""
