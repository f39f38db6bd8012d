"""A game server for players with an account."""
