"""A client that has proved its handshake, and how far the handler knows of it."""

from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int8_t

from mpgameserver._core.message cimport checked_message

from mpgameserver.enums import ConnectionStatus, DisconnectReason

__all__ = ["Session"]

cdef object _connected = ConnectionStatus.CONNECTED
cdef object _dropped = ConnectionStatus.DROPPED


cdef class Session(Timed):
    """A session of a server.

    `owner` has the time, as `now`, and takes the session when it `wants_out`. It makes the calls
    of other threads than the one that has made the session (`hand_over_send`,
    `hand_over_disconnect`), and the callbacks of what cannot be sent (`refuse`). `client` is set
    by whoever makes the session.
    """

    def __cinit__(
        self, Connection connection, tuple address not None, bytes client_key not None, owner
    ):
        self._owner = owner
        self.connection = connection
        self.address = address
        self.client_key = client_key
        self.message_rate = MessageRate()
        self.connected_at = owner.now
        self._thread = PyThread_get_thread_ident()

    @property
    def now(self):
        """The monotonic time, in seconds."""
        return self._owner.now

    def send(self, payload, retry, callback):
        """Queue a message, as `Connection.send` does, and see to it that it leaves.

        On another thread it is handed over. To a client that is gone nothing is sent.
        """
        cdef int8_t _
        if PyThread_get_thread_ident() == self._thread:
            self.send_here(payload, retry, callback)
        else:
            data = self._checked(payload, retry, callback, &_)
            self._owner.hand_over_send(self, data, retry, callback)

    cpdef object send_here(self, object payload, object retry, object callback):
        """The same, on the thread of the sessions."""
        cdef int8_t mode
        # `__buffer__` of the payload, or a finalizer, may end the session in here.
        cdef bytes data = self._checked(payload, retry, callback, &mode)
        if self.connection.status is not _connected:
            if callback is not None:
                self._owner.refuse(self, callback)
            return
        self.connection.endpoint.send_queue.add_checked(data, mode, callback)
        if not self.is_ready:
            self._owner.wants_out(self)

    cdef bytes _checked(self, object payload, object retry, object callback, int8_t *mode):
        """The payload as bytes. Raises TypeError or ValueError for what cannot be sent."""
        return checked_message(
            payload, retry, callback, self.connection.endpoint.send_queue.max_message, mode
        )

    def disconnect(self, reason):
        """Do as `say_goodbye`; on another thread it is handed over, once."""
        if PyThread_get_thread_ident() == self._thread:
            self.say_goodbye(reason)
        elif not self.is_asked_to_leave:
            self.is_asked_to_leave = True
            self._owner.hand_over_disconnect(self, reason)

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
            self.reason = (
                DisconnectReason.PATH_MTU if self.connection.endpoint._path.is_stuck
                else DisconnectReason.TIMEOUT
            )
        else:
            self.reason = DisconnectReason.GOODBYE
        return self.reason
