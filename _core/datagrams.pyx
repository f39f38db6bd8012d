"""Datagrams in and out of a UDP socket, many per system call where the platform can do that.

Out: datagrams to one address, of one size but for the last, gather in a run and leave in one
call: on Linux the kernel cuts the run up (UDP_SEGMENT, udp(7)), elsewhere and where the device
cannot do it each leaves in a call of its own. In: with UDP_GRO the kernel hands over such a run
as one piece, which is cut up here.

Against the socket module this saves the exception for each read that finds nothing, and the
address of each datagram: those that were seen are kept, up to a bound.

A server that is bound to all addresses of its host answers from the one that was spoken to: the
kernel tells it with each datagram, and it is the last field of the address (IP_PKTINFO, ip(7)).

An error of the network is an answer and no exception: what the kernel has no room for is kept,
what the network cannot carry counts as sent, for it is lost like any other. Such errors are
counted. Only a descriptor that somebody else has closed is an OSError. There is no
recvmmsg and no sendmmsg here: on loopback both cost as much per datagram as single calls.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8
from libc.string cimport memcpy

from os import strerror

__all__ = ["HAS_RUNS", "IS_NATIVE", "TELLS_LOCAL", "DatagramSocket", "forget_addresses"]

cdef enum:
    RUN_LENGTH = 64  # UDP_MAX_SEGMENTS of Linux before 6.9
    RUN_BYTES = 65000  # what one IP packet holds, less its headers

cpdef enum:
    RECEIVE_SIZE = 65536  # more than any UDP payload, and than any run
    # Errors that one read steps over: a port-unreachable message can be forged without end.
    MAX_READ_ERRORS = 16
    # Of the 131,072 datagrams of a second from 4,096 players none makes its address anew; a flood
    # from forged addresses takes 7 MB.
    MAX_KNOWN_ADDRESSES = 16384

IS_NATIVE = bool(MPG_NATIVE)
HAS_RUNS = bool(MPG_RUNS)
TELLS_LOCAL = bool(MPG_LOCAL)

# One read at a time: nothing releases the GIL between the read and the copy.
cdef char _read_buffer[RECEIVE_SIZE]

cdef dict _addresses = {}   # what the kernel says -> the tuple of the socket module
cdef dict _kernel_forms = {}   # and back


cdef inline bytes _key_of(MpgAddress *raw):
    return PyBytes_FromStringAndSize(mpg_address_bytes(raw), <Py_ssize_t>raw.size)


cdef object _address_of(MpgAddress *raw):
    """The address as the socket module has it, and behind that the local one where it is told."""
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
    """Forget the addresses that were seen: for whoever counts what a crowd leaves behind."""
    _addresses.clear()
    _kernel_forms.clear()


cdef int _know(tuple address, bytes key) except -1:
    if len(_addresses) >= MAX_KNOWN_ADDRESSES:
        forget_addresses()
    _addresses[key] = address
    _kernel_forms[address] = key
    return 0


cdef bytes _kernel_form(tuple address):
    """The address as the kernel has it; None for a name, which must be looked up."""
    cdef bytes key = _kernel_forms.get(address)
    cdef unsigned flow = 0, scope = 0
    cdef MpgAddress raw
    if key is not None:
        return key
    # No slices: to make a tuple can run a finalizer, which may send from the same socket.
    host = address[0]
    if len(address) >= 4:
        flow, scope = address[2], address[3]
    local = address[len(address) - 1] if len(address) in (3, 5) else ""
    if "\0" in host:  # C would see what comes before it
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

    `runs` says whether runs may be sent and received as such, `local` whether addresses have that
    of this host as one more field. `refused` is set when the other side's host has said that
    nothing is bound to the port. `send_errors` counts the other errors of sending, by errno; the
    last of them is the `unreported_error`, until the owner sets it to 0.

    Raises OSError when the descriptor is no socket any more (EBADF, ENOTSOCK). Once: it is let go
    of, without closing what has its number now, and nothing moves from then on.

    Not for use by two threads at a time.
    """

    def __cinit__(self, sock, *, bint runs=True, bint local=False):
        if not MPG_NATIVE:
            raise OSError("there is no DatagramSocket on this platform")
        self._socket = sock
        self._fd = sock.fileno()
        self._run = []
        self.send_errors = {}
        self._sends_runs = runs and MPG_RUNS
        if runs:
            mpg_enable_runs(self._fd)
        if local:
            mpg_tell_local(self._fd)

    cpdef bytes receive(self):
        """The next datagram; None when none waits."""
        return self._receive(NULL)

    cpdef tuple receive_from(self):
        """The next datagram and the address that it came from; None when none waits."""
        cdef MpgAddress sender
        cdef bytes datagram
        if self._rest is not None:
            return self._next_of_rest(), self._sender_address
        datagram = self._receive(&sender)
        return None if datagram is None else (datagram, self._sender_address)

    cpdef bint spin(self, double seconds):
        """Look for a datagram without sleeping, for so long; True when one is there.

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
        """Note whom the last datagram came from."""
        # A finalizer may run in here, and send to whom the one before came from.
        cdef tuple address = _address_of(sender)
        self._sender = sender[0]
        self._sender_address = address
        return 0

    cdef bytes _next_of_rest(self):
        """The next datagram of a run that was read as one piece."""
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
        """Take a datagram, which leaves by `flush` at the latest.

        `address` is where to, as the socket module has it; None on a socket that is connected.
        False when the kernel takes no more now, and then the datagram was not taken.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(datagram)
        if self._run and not (
            self._run_is_open
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
            self._run_size = 0
        self._run.append(datagram)
        self._run_size += size
        self._run_is_open = self._sends_runs and size == self._run_segment > 0
        return True

    cpdef bint flush(self) except -1:
        """Send what was queued; False when the kernel takes no more now."""
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
        """Send a datagram now, behind what was queued; False when the kernel takes none now."""
        return self.flush() and self._send_one(datagram, address)

    cpdef int close(self) except -1:
        """Close the socket; idempotent. What was queued is discarded.

        From then on nothing arrives, and what is sent goes nowhere.
        """
        self._fd = -1
        self._run.clear()
        self._rest = None
        try:
            self._socket.close()
        except OSError:  # somebody else has closed it already
            pass
        return 0

    cdef bint _write_address(self, tuple address, MpgAddress *raw) except -1:
        """Write the address as the kernel has it; False for a name, which must be looked up."""
        cdef bytes form
        if address is self._sender_address:  # most answers go to whoever spoke last
            raw[0] = self._sender
            return True
        form = _kernel_form(address)
        if form is None:
            return False
        memcpy(mpg_address_bytes(raw), PyBytes_AS_STRING(form), PyBytes_GET_SIZE(form))
        raw.size = <size_t>PyBytes_GET_SIZE(form)
        return True

    cdef Py_ssize_t _send_run(self) except -1:
        """Send the run in one call; how many datagrams of it are dealt with: all or none."""
        cdef char *data[RUN_LENGTH]
        cdef size_t sizes[RUN_LENGTH]
        cdef MpgAddress to
        cdef bytes datagram
        cdef Py_ssize_t i, count
        if self._run_address is not None and not self._write_address(self._run_address, &to):
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
        sent = mpg_send(
            self._fd, PyBytes_AS_STRING(datagram), PyBytes_GET_SIZE(datagram),
            NULL if address is None else &to,
        )
        if sent >= 0:
            return True
        error = mpg_error()
        if address is not None and mpg_not_local(error) and self._sends_from_elsewhere(
            datagram, address, &to
        ):
            return True
        return self._note_send_error(error)

    cdef bint _sends_from_elsewhere(
        self, bytes datagram, tuple address, MpgAddress *to
    ) except -1:
        """Send from where the kernel chooses, and forget the local address if that goes.

        The next datagram that comes that way tells the local address anew.
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
        """Count an error of sending; False when the datagram is to be kept."""
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
        """Raise OSError when an error says that somebody else has closed the socket."""
        if self._fd < 0 or not mpg_not_ours(error):
            return 0
        self._fd = -1
        self._run.clear()
        self._rest = None
        self._socket.detach()
        raise OSError(error, strerror(error))
