"""A game server that lets in who has an account."""
