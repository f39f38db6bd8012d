# A UDP socket that moves runs of datagrams in one system call.
from mpgameserver._core.path_mtu cimport LEAST_DATAGRAM

cdef extern from "udp.h":
    enum: MPG_NATIVE
    enum: MPG_RUNS
    enum: MPG_LOCAL
    enum: MPG_MODE_OPTIONS
    ctypedef struct MpgAddress "mpg_address":
        size_t size
    int mpg_receive(int fd, char *data, size_t size, MpgAddress *sender, size_t *segment) noexcept
    int mpg_send(int fd, const char *data, size_t size, const MpgAddress *to) noexcept
    int mpg_send_run(
        int fd, char **data, size_t *sizes, int count, size_t size, const MpgAddress *to
    ) noexcept
    int mpg_enable_runs(int fd) noexcept
    bint mpg_spin(int fd, double seconds) noexcept nogil
    bint mpg_tell_local(int fd) noexcept
    bint mpg_forget_local(MpgAddress *address) noexcept
    char *mpg_address_bytes(MpgAddress *address) noexcept
    int mpg_make_address(
        MpgAddress *address, const char *host, int port, unsigned flow, unsigned scope,
        const char *local
    ) noexcept
    int mpg_read_address(
        const MpgAddress *address, char *host, int *port, unsigned *flow, unsigned *scope,
        char *local
    ) noexcept
    int mpg_would_block(int error) noexcept
    int mpg_refused(int error) noexcept
    int mpg_not_ours(int error) noexcept
    int mpg_not_local(int error) noexcept
    int mpg_never_runs(int error) noexcept
    int mpg_too_large(int error) noexcept
    bint mpg_set_options(int fd, const int *options, int count) noexcept
    int mpg_error() noexcept

cdef class DatagramSocket:
    cdef readonly bint refused
    cdef readonly dict send_errors   # how often each errno occurred
    cdef public int unreported_error
    cdef public Py_ssize_t too_large  # the size of the last one that did not leave whole; 0: none
    cdef object _socket
    cdef int _fd                   # -1 once closed: the number may be another file's
    cdef bint _sends_runs
    # Options, each a level, a name and a value: for datagrams that may be fragmented, that may not.
    cdef int _modes[2][3 * MPG_MODE_OPTIONS]
    cdef int _mode_sizes[2]        # how many options
    cdef bint _has_modes, _sends_whole, _never_whole   # the mode of now; the second is refused
    cdef list _run                 # datagrams waiting for `flush`, to one address
    cdef tuple _run_address
    cdef Py_ssize_t _run_segment   # the size of the first
    cdef bint _run_is_whole        # none of them may be fragmented
    cdef Py_ssize_t _run_size      # bytes, of all
    cdef bint _run_is_open         # another may follow, of that size or less
    cdef bytes _rest               # a run that was read and is being split; None: none
    cdef MpgAddress _sender        # of the last datagram, also in the form of the socket module
    cdef tuple _sender_address
    cdef Py_ssize_t _rest_segment, _rest_taken

    cpdef bytes receive(self)
    cpdef tuple receive_from(self)
    cpdef bint spin(self, double seconds)
    cpdef bint queue(self, bytes datagram, tuple address=*) except -1
    cpdef bint flush(self) except -1
    cpdef int close(self) except -1
    cpdef bint send(self, bytes datagram, tuple address=*) except -1
    cdef bytes _receive(self, MpgAddress *sender)
    cdef int _note_sender(self, MpgAddress *sender) except -1
    cdef bytes _next_of_rest(self)
    cdef bint _write_address(self, tuple address, MpgAddress *raw) except -1
    cdef Py_ssize_t _send_run(self) except -1
    cdef int _set_mode(self, int whole, options) except -1
    cdef bint _admits(self, bint whole, Py_ssize_t size) noexcept
    cdef int _send_whole(self, const char *data, Py_ssize_t size, const MpgAddress *to) noexcept
    cdef bint _send_one(self, bytes datagram, tuple address) except -1
    cdef bint _sends_from_elsewhere(self, bytes datagram, tuple address, MpgAddress *to) except -1
    cdef bint _note_send_error(self, int error) except -1
    cdef int _check_descriptor(self, int error) except -1
