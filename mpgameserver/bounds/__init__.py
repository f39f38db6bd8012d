"""Tables, sets and rates that stay small whatever a peer sends."""
