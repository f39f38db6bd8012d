# The outcome of a datagram that arrived.
cdef enum Verdict:
    ACCEPTED = 0
    MALFORMED = 1
    MISDIRECTED = 2      # the identifier of the other direction, or of no packet at all
    UNEXPECTED = 3       # before the session is established
    REPEATED = 4         # its packet number was already received
    TOO_LATE = 5         # behind the receive window
    IMPLAUSIBLE = 6      # its number and send time belong to no fresh packet
    FORGED = 7           # it is not authentic
    INBOX_FULL = 8
    REASSEMBLY_FULL = 9
    VERDICTS = 10
