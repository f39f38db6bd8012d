"""The client: `UdpClient`, and what it connects with."""

from mpgameserver.client.udpclient import UdpClient

__all__ = ["UdpClient"]
