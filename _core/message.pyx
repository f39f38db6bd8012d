"""An outgoing message: its bytes, its retry mode, and its state."""

cimport cython
from cpython.long cimport PyLong_AsLongAndOverflow

from mpgameserver._core.packet cimport FRAGMENT_HEADER
from mpgameserver._core.packet_header cimport APP

__all__ = ["Message", "FragmentedMessage"]


# Neither can be part of a cycle, because callbacks are kept elsewhere. Thousands of messages in
# flight therefore cost the garbage collector nothing.
@cython.final
@cython.no_gc
@cython.freelist(32)
cdef class FragmentedMessage:
    """An outgoing message that is sent in fragments."""


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Message:
    """A message, or a fragment of one, with its own message number."""

    cdef uint32_t wire_size(self) noexcept:
        return self.size if self.parent is None else self.size + FRAGMENT_HEADER

    cdef bint travels_alone(self) noexcept:
        """Return True for handshake messages and DISCONNECTs, each alone in its packet."""
        return self.message_type < APP


cdef bytes as_bytes(object payload):
    """Return the bytes of a bytes-like object, copied unless they are immutable."""
    if type(payload) is bytes:
        return payload
    try:
        view = memoryview(payload)
    except TypeError:
        hint = ": encode it first, msg.encode()" if isinstance(payload, str) else ""
        raise TypeError(
            f"msg must be a bytes-like object, not {type(payload).__name__}{hint}"
        ) from None
    return view.tobytes()


cdef int8_t as_retry_mode(object retry) except? -2:
    cdef int overflow
    cdef long mode
    if not isinstance(retry, int):
        raise TypeError(f"retry must be a RetryMode or an int, not {type(retry).__name__}")
    mode = PyLong_AsLongAndOverflow(retry, &overflow)
    if overflow or not RETRY_ON_TIMEOUT <= mode <= BEST_EFFORT:
        raise ValueError(f"retry must be one of -1, 0, 1 (see RetryMode), not {retry!r}")
    return <int8_t>mode


cdef bytes checked_message(
    object payload, object retry, object callback, Py_ssize_t most, int8_t *mode
):
    """Return the bytes of a message to be sent, and write its retry mode to `mode`.

    Raises TypeError or ValueError if it cannot be sent; it may have at most `most` bytes.
    """
    cdef bytes data = as_bytes(payload)
    mode[0] = as_retry_mode(retry)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {type(callback).__name__}")
    if len(data) > most:
        raise ValueError(f"a message holds at most {most} bytes, this one has {len(data)}")
    return data


cdef Message new_message(bytes data, uint8_t message_type, int8_t retry):
    cdef Message message = Message.__new__(Message)
    message.data = data
    message.size = len(data)
    message.message_type = message_type
    message.retry = retry
    return message


cdef FragmentedMessage new_fragmented(bytes data, int8_t retry):
    cdef FragmentedMessage fragmented = FragmentedMessage.__new__(FragmentedMessage)
    fragmented.data = data
    fragmented.retry = retry
    fragmented.next_index = 1
    return fragmented
