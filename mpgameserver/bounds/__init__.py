"""What stays small whatever a peer sends: tables, sets and rates."""
