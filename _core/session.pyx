"""A client that has proved its handshake, and how far the handler knows of it."""

from mpgameserver.enums import ConnectionStatus, DisconnectReason

__all__ = ["Session"]

cdef object _connected = ConnectionStatus.CONNECTED
cdef object _dropped = ConnectionStatus.DROPPED


cdef class Session(Timed):
    """A session of a server.

    `owner` has the time, as `now`, and takes the session when it `wants_out`. `client` is set by
    whoever makes the session.
    """

    def __cinit__(
        self, Lifecycle connection, tuple address not None, bytes client_key not None, owner
    ):
        self._owner = owner
        self.connection = connection
        self.address = address
        self.client_key = client_key
        self.message_rate = MessageRate()
        self.connected_at = owner.now

    @property
    def now(self):
        """The monotonic time, in seconds."""
        return self._owner.now

    def send(self, payload, retry, callback):
        """Queue a message, as `Lifecycle.send` does, and see to it that it leaves."""
        self.connection.queue(payload, retry, callback)
        if not self.is_ready:
            self._owner.wants_out(self)

    def say_goodbye(self, reason):
        """Begin to disconnect, unless that has begun or the session is over."""
        if self.connection.status is _connected:
            self.ending = reason
            self.connection.disconnect(self.now)
            self._owner.wants_out(self)

    def end(self):
        """Note why the session, which is over, has ended; the reason."""
        if self.ending is not None:
            self.reason = self.ending
        elif self.connection.key_used_up:
            self.reason = DisconnectReason.KEY_LIMIT
        elif self.connection.status is _dropped:
            self.reason = DisconnectReason.TIMEOUT
        else:
            self.reason = DisconnectReason.GOODBYE
        return self.reason
