"""Hold the star: a game for two or more, with a server that decides and clients that guess."""
