"""What anybody may send must not grow without bound: sets, queues and rates that stay small."""
