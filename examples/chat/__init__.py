"""A chat with rooms: an asyncio server, and a client for the terminal."""
