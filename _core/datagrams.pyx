"""Datagram I/O on a UDP socket, with many datagrams per system call where the platform allows.

Sending: datagrams to one address that have one size, except for the last, are gathered in a run and
sent in one call. On Linux the kernel splits the run (UDP_SEGMENT, udp(7)); elsewhere, or if the
device does not support it, each is sent by a call of its own. Receiving: with UDP_GRO the kernel
returns such a run as one buffer, which is split here.

Compared with the socket module, this saves an exception for each read that finds nothing, and an
address object for each datagram, because known addresses are cached, up to a bound.

A server that is bound to all addresses of its host replies from the one that a datagram was sent
to: the kernel reports it with each datagram (IP_PKTINFO, ip(7)), and it is the last field of the
address.

Sealed packets of protocol 2 must not be fragmented on the way, because they find out what the path
carries; datagrams of protocol 1 may be, and leave from the same port. Linux has no option of a
single datagram for that. So the socket's options change whenever a datagram of the other kind is
next: 0.3 us over IPv4 and 0.7 us over IPv6, where sending one takes 2 to 3 us.

Network errors are results, not exceptions: a datagram for which the kernel has no room is kept, and
one that the network cannot carry counts as sent, because it is lost like any other. These errors
are counted. Only a descriptor that something else has closed raises OSError. recvmmsg and sendmmsg
are not used: over loopback they cost as much per datagram as single calls.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8
from libc.string cimport memcpy

from os import strerror

__all__ = [
    "HAS_RUNS", "IS_NATIVE", "TELLS_LOCAL", "DatagramSocket", "forget_addresses", "goes_whole",
]

cdef enum:
    RUN_LENGTH = 64  # UDP_MAX_SEGMENTS of Linux before 6.9
    RUN_BYTES = 65000  # the payload of one IP packet

cpdef enum:
    RECEIVE_SIZE = 65536  # more than any UDP payload, and than any run
    # Errors that one read skips, because port-unreachable messages can be forged endlessly.
    MAX_READ_ERRORS = 16
    # None of the 131,072 datagrams per second from 4,096 players creates its address anew, and a
    # flood from spoofed addresses takes 7 MB.
    MAX_KNOWN_ADDRESSES = 16384

IS_NATIVE = bool(MPG_NATIVE)
HAS_RUNS = bool(MPG_RUNS)
TELLS_LOCAL = bool(MPG_LOCAL)

# One read at a time: nothing releases the GIL between the read and the copy.
cdef char _read_buffer[RECEIVE_SIZE]

cdef dict _addresses = {}   # the kernel's form -> the tuple of the socket module
cdef dict _kernel_forms = {}   # and back


cdef enum:
    # The first byte of a handshake packet of protocol 2, and the bits of it of a sealed one.
    HANDSHAKE = 4
    SEALED = 8
    SEALED_MASK = 0xF8


cpdef bint goes_whole(bytes datagram) except -1:
    """Return True for a datagram that must not be fragmented on its way.

    Those are the sealed packets of protocol 2, and CLIENT_HELLO2 and the answer to it. The answer
    to a hello of protocol 1, which may itself be fragmented, may be longer.
    """
    cdef unsigned char first = <unsigned char>PyBytes_AS_STRING(datagram)[0]  # 0 of an empty one
    return first & SEALED_MASK == SEALED or (
        first == HANDSHAKE and PyBytes_GET_SIZE(datagram) <= LEAST_DATAGRAM
    )


cdef inline bytes _key_of(MpgAddress *raw):
    return PyBytes_FromStringAndSize(mpg_address_bytes(raw), <Py_ssize_t>raw.size)


cdef object _address_of(MpgAddress *raw):
    """Return the address as the socket module has it, with the local one appended if known."""
    cdef bytes key = _key_of(raw)
    cdef object address = _addresses.get(key)
    cdef char host[64]
    cdef char local[64]
    cdef int port = 0, version
    cdef unsigned flow = 0, scope = 0
    if address is not None:
        return address
    version = mpg_read_address(raw, host, &port, &flow, &scope, local)
    text = host.decode("ascii") if version else ""
    address = (text, port) if version == 4 else (text, port, flow, scope)
    if local[0]:
        address += (local.decode("ascii"),)
    _know(address, key)
    return address


def forget_addresses():
    """Clear the cache of addresses; tests that measure memory use it."""
    _addresses.clear()
    _kernel_forms.clear()


cdef int _know(tuple address, bytes key) except -1:
    if len(_addresses) >= MAX_KNOWN_ADDRESSES:
        forget_addresses()
    _addresses[key] = address
    _kernel_forms[address] = key
    return 0


cdef bytes _kernel_form(tuple address):
    """Return the address in the kernel's form, or None for a name, which needs a lookup."""
    cdef bytes key = _kernel_forms.get(address)
    cdef unsigned flow = 0, scope = 0
    cdef MpgAddress raw
    if key is not None:
        return key
    # No slices: creating a tuple can run a finalizer, which may send from the same socket.
    host = address[0]
    if len(address) >= 4:
        flow, scope = address[2], address[3]
    local = address[len(address) - 1] if len(address) in (3, 5) else ""
    if "\0" in host:  # a C string would end there
        return None
    if not mpg_make_address(
        &raw, PyUnicode_AsUTF8(host), address[1], flow, scope, PyUnicode_AsUTF8(local)
    ):
        return None
    key = _key_of(&raw)
    _know(address, key)
    return key


cdef class DatagramSocket:
    """Moves the datagrams of a non-blocking UDP socket of the socket module, and closes it.

    `runs`: send and receive runs in one call. `local`: append the local address to addresses.
    `refused` is set when the peer's host reports that nothing is bound to the port. `send_errors`
    counts other errors of sending by errno; the last of them is `unreported_error`, until the owner
    sets it to 0.

    `modes` has two tuples of at most four options, each (level, name, value): for datagrams that
    may be fragmented, which the owner has set already, and for those that may not (`goes_whole`).
    Where the system refuses the latter, no such datagram leaves that is larger than every path
    carries. `too_large` is the size of the last one that did not leave for this reason, or because
    the interface does not take it, until the owner sets it to 0. Without `modes` the options stay
    as they are.

    Raises OSError when the descriptor is not a socket any more (EBADF, ENOTSOCK), once: it is
    released without being closed, because another file may have its number now, and nothing is sent
    or received from then on.

    Not for use by two threads at a time.
    """

    def __cinit__(self, sock, *, bint runs=True, bint local=False, tuple modes=None):
        if not MPG_NATIVE:
            raise OSError("DatagramSocket is not supported on this platform")
        if modes is not None:
            self._set_mode(False, modes[0])
            self._set_mode(True, modes[1])
            self._has_modes = True
            self._never_whole = self._mode_sizes[True] == 0
        self._socket = sock
        self._fd = sock.fileno()
        self._run = []
        self.send_errors = {}
        self._sends_runs = runs and MPG_RUNS
        if runs:
            mpg_enable_runs(self._fd)
        if local:
            mpg_tell_local(self._fd)

    cdef int _set_mode(self, int whole, options) except -1:
        """Note the options of a mode. Raises ValueError for more than there is room for."""
        cdef int i, size = len(options)
        if size > MPG_MODE_OPTIONS:
            raise ValueError(f"{size} options of a mode, {MPG_MODE_OPTIONS} at most")
        for i in range(size):
            level, name, value = options[i]
            self._modes[whole][3 * i] = level
            self._modes[whole][3 * i + 1] = name
            self._modes[whole][3 * i + 2] = value
        self._mode_sizes[whole] = size
        return 0

    cpdef bytes receive(self):
        """Return the next datagram, or None if none is waiting."""
        return self._receive(NULL)

    cpdef tuple receive_from(self):
        """Return the next datagram and its source address, or None if none is waiting."""
        cdef MpgAddress sender
        cdef bytes datagram
        if self._rest is not None:
            return self._next_of_rest(), self._sender_address
        datagram = self._receive(&sender)
        return None if datagram is None else (datagram, self._sender_address)

    cpdef bint spin(self, double seconds):
        """Busy-poll for that many seconds; return True when a datagram is waiting.

        Other threads run meanwhile.
        """
        cdef bint found
        if self._rest is not None:
            return True
        with nogil:
            found = mpg_spin(self._fd, seconds)
        return found

    cdef bytes _receive(self, MpgAddress *sender):
        cdef bytes datagram
        cdef size_t segment = 0
        cdef int size, error, _
        if self._rest is not None:
            return self._next_of_rest()
        if self._fd < 0:
            return None
        for _ in range(MAX_READ_ERRORS):
            size = mpg_receive(self._fd, _read_buffer, RECEIVE_SIZE, sender, &segment)
            if size >= 0:
                break
            error = mpg_error()
            if mpg_would_block(error):
                return None
            self._check_descriptor(error)
            self.refused = self.refused or mpg_refused(error)
        else:
            return None
        datagram = PyBytes_FromStringAndSize(_read_buffer, size)
        if sender != NULL:
            self._note_sender(sender)
        if segment == 0 or <size_t>size <= segment:
            return datagram
        self._rest = datagram
        self._rest_taken = 0
        self._rest_segment = <Py_ssize_t>segment
        return self._next_of_rest()

    cdef int _note_sender(self, MpgAddress *sender) except -1:
        """Record the source of the last datagram."""
        # A finalizer may run in here, and send to the source of the one before.
        cdef tuple address = _address_of(sender)
        self._sender = sender[0]
        self._sender_address = address
        return 0

    cdef bytes _next_of_rest(self):
        """Return the next datagram of a run that was read by one call."""
        cdef Py_ssize_t left = PyBytes_GET_SIZE(self._rest) - self._rest_taken
        cdef Py_ssize_t size = min(left, self._rest_segment)
        cdef bytes datagram = PyBytes_FromStringAndSize(
            PyBytes_AS_STRING(self._rest) + self._rest_taken, size
        )
        self._rest_taken += size
        if size == left:
            self._rest = None
        return datagram

    cpdef bint queue(self, bytes datagram, tuple address=None) except -1:
        """Queue a datagram, which is sent by `flush` at the latest.

        `address` is the destination in the form of the socket module, or None on a connected
        socket. Returns False, and does not take the datagram, while the socket is not writable.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram)
        cdef bint whole = self._has_modes and goes_whole(datagram)
        if self._run and not (
            self._run_is_open
            and whole == self._run_is_whole
            and 0 < size <= self._run_segment
            and len(self._run) < RUN_LENGTH
            and self._run_size + size <= RUN_BYTES
            and (address is self._run_address or address == self._run_address)
        ):
            if not self.flush():
                return False
        if not self._run:
            self._run_address = address
            self._run_segment = size
            self._run_is_whole = whole
            self._run_size = 0
        self._run.append(datagram)
        self._run_size += size
        self._run_is_open = self._sends_runs and size == self._run_segment > 0
        return True

    cpdef bint flush(self) except -1:
        """Send what is queued; return False while the socket is not writable."""
        cdef Py_ssize_t sent = 0
        if not self._run:
            return True
        if self._fd < 0:
            self._run.clear()
            return True
        if len(self._run) > 1 and self._sends_runs:
            sent = self._send_run()
        while sent < len(self._run):
            if not self._send_one(<bytes?>self._run[sent], self._run_address):
                break
            sent += 1
        if sent < len(self._run):
            del self._run[:sent]
            return False
        self._run.clear()
        return True

    cpdef bint send(self, bytes datagram, tuple address=None) except -1:
        """Send a datagram after what is queued; return False while the socket is not writable."""
        return self.flush() and self._send_one(datagram, address)

    cpdef int close(self) except -1:
        """Close the socket and discard what is queued; idempotent.

        From then on nothing is received, and what is sent is discarded.
        """
        self._fd = -1
        self._run.clear()
        self._rest = None
        try:
            self._socket.close()
        except OSError:  # something else has closed it already
            pass
        return 0

    cdef bint _write_address(self, tuple address, MpgAddress *raw) except -1:
        """Write the address in the kernel's form; return False for a name, which needs a lookup."""
        cdef bytes form
        if address is self._sender_address:  # most replies go to the last sender
            raw[0] = self._sender
            return True
        form = _kernel_form(address)
        if form is None:
            return False
        memcpy(mpg_address_bytes(raw), PyBytes_AS_STRING(form), PyBytes_GET_SIZE(form))
        raw.size = <size_t>PyBytes_GET_SIZE(form)
        return True

    cdef bint _admits(self, bint whole, Py_ssize_t size) noexcept:
        """Let the socket send datagrams whole or not; return False if one must not leave.

        It is one that must not be fragmented, of more than every path carries, where the system
        cannot forbid it.
        """
        cdef bint is_set
        if whole == self._sends_whole:
            return True
        if whole and self._never_whole:
            return size <= LEAST_DATAGRAM
        self._sends_whole = whole
        is_set = mpg_set_options(self._fd, self._modes[whole], self._mode_sizes[whole])
        if is_set or not whole:
            return True
        self._never_whole = True
        self._admits(False, size)
        return size <= LEAST_DATAGRAM

    cdef Py_ssize_t _send_run(self) except -1:
        """Send the run in one call; return how many datagrams are done: all or none."""
        cdef char *data[RUN_LENGTH]
        cdef size_t sizes[RUN_LENGTH]
        cdef MpgAddress to
        cdef bytes datagram
        cdef Py_ssize_t i, count
        if self._run_address is not None and not self._write_address(self._run_address, &to):
            return 0
        if not self._admits(self._run_is_whole, self._run_segment):
            return 0
        count = min(len(self._run), RUN_LENGTH)
        for i in range(count):
            datagram = self._run[i]
            data[i] = PyBytes_AS_STRING(datagram)
            sizes[i] = PyBytes_GET_SIZE(datagram)
        i = mpg_send_run(
            self._fd, data, sizes, <int>count, self._run_segment,
            NULL if self._run_address is None else &to,
        )
        if i >= 0:
            return count
        self._sends_runs = self._sends_runs and not mpg_never_runs(mpg_error())
        return 0

    cdef bint _send_one(self, bytes datagram, tuple address) except -1:
        cdef MpgAddress to
        cdef int sent, error
        if self._fd < 0 or address is not None and not self._write_address(address, &to):
            return True
        if not self._admits(
            self._has_modes and goes_whole(datagram), PyBytes_GET_SIZE(datagram)
        ):
            self.too_large = PyBytes_GET_SIZE(datagram)
            return True
        sent = self._send_whole(
            PyBytes_AS_STRING(datagram), PyBytes_GET_SIZE(datagram),
            NULL if address is None else &to,
        )
        if sent >= 0:
            return True
        error = mpg_error()
        if address is not None and mpg_not_local(error) and self._sends_from_elsewhere(
            datagram, address, &to
        ):
            return True
        if self._sends_whole and mpg_too_large(error):
            self.too_large = PyBytes_GET_SIZE(datagram)
            return True
        return self._note_send_error(error)

    cdef int _send_whole(
        self, const char *data, Py_ssize_t size, const MpgAddress *to
    ) noexcept:
        """Send a datagram; where it may not be fragmented, a second time if it is too large.

        On a connected socket the error may be that of an ICMP message, which anybody can forge.
        The kernel tells of it once, instead of sending; a datagram that the interface does not take
        fails again.
        """
        cdef int sent = mpg_send(self._fd, data, size, to)
        if sent < 0 and self._sends_whole and mpg_too_large(mpg_error()):
            sent = mpg_send(self._fd, data, size, to)
        return sent

    cdef bint _sends_from_elsewhere(
        self, bytes datagram, tuple address, MpgAddress *to
    ) except -1:
        """Send from the address that the kernel chooses; if that works, forget the local address.

        The next datagram from there brings the local address again.
        """
        cdef bytes key = _key_of(to)
        if not mpg_forget_local(to) or mpg_send(
            self._fd, PyBytes_AS_STRING(datagram), PyBytes_GET_SIZE(datagram), to
        ) < 0:
            return False
        _addresses.pop(key, None)
        _kernel_forms[address] = _key_of(to)
        if address is self._sender_address:
            self._sender = to[0]
        return True

    cdef bint _note_send_error(self, int error) except -1:
        """Count an error of sending; return False if the datagram must be kept."""
        if mpg_would_block(error):
            return False
        self._check_descriptor(error)
        if mpg_refused(error):
            self.refused = True
        elif self._fd >= 0:
            self.send_errors[error] = self.send_errors.get(error, 0) + 1
            self.unreported_error = error
        return True

    cdef int _check_descriptor(self, int error) except -1:
        """Raise OSError if the error means that something else has closed the socket."""
        if self._fd < 0 or not mpg_not_ours(error):
            return 0
        self._fd = -1
        self._run.clear()
        self._rest = None
        self._socket.detach()
        raise OSError(error, strerror(error))
