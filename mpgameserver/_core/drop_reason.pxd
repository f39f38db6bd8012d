# The reasons for which the endpoint drops a datagram; 0 if it is accepted.
cdef enum DropReason:
    ACCEPTED = 0
    MALFORMED = 1
    MISDIRECTED = 2      # the identifier is that of the other direction, or unknown
    UNEXPECTED = 3       # before the session is established
    REPEATED = 4         # its packet number was already received
    TOO_OLD = 5          # behind the receive window
    OUT_OF_WINDOW = 6    # too far ahead, or its send time does not match its number
    NOT_AUTHENTIC = 7    # the tag does not verify
    INBOX_FULL = 8
    REASSEMBLY_FULL = 9
    REASON_COUNT = 10
