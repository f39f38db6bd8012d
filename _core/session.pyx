"""A client with an established session, and what the handler knows of it."""

from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int8_t, uint8_t

from mpgameserver._core.message cimport checked_message

from mpgameserver.enums import CloseCode, ConnectionStatus, DisconnectReason

__all__ = ["Session"]

cdef int KEYS = CloseCode.KEYS
cdef object _connecting = ConnectionStatus.CONNECTING
cdef object _connected = ConnectionStatus.CONNECTED
cdef object _dropped = ConnectionStatus.DROPPED


cdef class Session(Timed):
    """A session of a server.

    `owner` has the time, as `now`, and is notified when the session has something to send
    (`wants_out`). It makes the calls of threads other than the one that created the session
    (`hand_over_send`, `hand_over_disconnect`), and the callbacks of messages that cannot be sent
    (`refuse`). `client` is set by the creator. `connection_id` is empty in protocol 1.
    """

    def __cinit__(
        self,
        Connection connection,
        tuple address not None,
        bytes client_key not None,
        owner,
        bytes connection_id not None=b"",
    ):
        self._owner = owner
        self.connection = connection
        self.address = address
        self.client_key = client_key
        self.connection_id = connection_id
        self.message_rate = MessageRate()
        self.connected_at = owner.now
        self._thread = PyThread_get_thread_ident()

    def move(self, tuple address not None):
        """Send to another address from now on: the client of a session of protocol 2 has moved."""
        self.address = address
        self.home_newest = 0

    @property
    def now(self):
        """The monotonic time, in seconds."""
        return self._owner.now

    def send(self, payload, retry, callback, uint8_t channel=0):
        """Queue a message, as `Connection.send` does, and have it sent.

        From another thread it is handed over. Nothing is sent to a client that is gone.
        """
        cdef int8_t _
        if PyThread_get_thread_ident() == self._thread:
            self.send_here(payload, retry, callback, channel)
        else:
            data = self._checked(payload, retry, callback, &_)
            self._owner.hand_over_send(self, data, retry, callback, channel)

    cpdef object send_here(
        self, object payload, object retry, object callback, uint8_t channel=0
    ):
        """The same, on the thread of the sessions."""
        cdef int8_t mode
        # `__buffer__` of the payload, or a finalizer, may end the session during this call.
        cdef bytes data = self._checked(payload, retry, callback, &mode)
        if self.connection.status is not _connected:
            if callback is not None:
                self._owner.refuse(self, callback)
            return
        if channel == 0:
            self.connection.endpoint.send_queue.enqueue(data, mode, callback)
        else:
            self.connection.send_on(channel, data, mode, callback)
        if not self.is_ready:
            self._owner.wants_out(self)

    cdef bytes _checked(self, object payload, object retry, object callback, int8_t *mode):
        """The payload as bytes. Raises TypeError or ValueError for what cannot be sent."""
        return checked_message(
            payload, retry, callback, self.connection.endpoint.send_queue.max_message, mode
        )

    def disconnect(self, reason, code=0, text=""):
        """Disconnect; from another thread this is handed over, once.

        A client of protocol 2 is told the code and the text.
        """
        if PyThread_get_thread_ident() == self._thread:
            self.disconnect_here(reason, code, text)
        elif not self.is_asked_to_leave:
            self.is_asked_to_leave = True
            self._owner.hand_over_disconnect(self, reason, code, text)

    def disconnect_here(self, reason, code=0, text=""):
        """Begin to disconnect, on the thread of the sessions; idempotent."""
        status = self.connection.status
        if status is _connected or status is _connecting:
            self.ending = reason
            self.connection.disconnect(self.now, code, text)
            self._owner.wants_out(self)

    def end(self):
        """Record why the session, which is over, has ended, and return the reason."""
        if self.ending is not None:
            self.reason = self.ending
        elif self.connection.key_used_up or self.connection.endpoint.error_code == KEYS:
            self.reason = DisconnectReason.KEY_LIMIT
        elif self.connection.endpoint.error_code:
            self.reason = DisconnectReason.PROTOCOL
        elif self.connection.status is _dropped:
            self.reason = (
                DisconnectReason.PATH_MTU if self.connection.endpoint.path_is_stuck()
                else DisconnectReason.TIMEOUT
            )
        else:
            self.reason = DisconnectReason.CLIENT
        return self.reason
