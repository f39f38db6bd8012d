# The kind of this build, as the C compiler saw it.
#
# Cython's hooks are compiled in or out by these two macros; they are not even defined unless a
# directive asked for hooks. A macro is read where it is used, so this sees the value that the hooks
# of this very module were compiled with, wherever it was set.

cdef extern from *:
    """
    #define MPGAMESERVER_TEXT(value) #value
    #define MPGAMESERVER_VALUE_OF(macro) MPGAMESERVER_TEXT(macro)
    """
    const char *PROFILE "MPGAMESERVER_VALUE_OF(CYTHON_PROFILE)"
    const char *TRACE "MPGAMESERVER_VALUE_OF(CYTHON_TRACE)"

KIND = "debug" if TRACE == b"1" else "profile" if PROFILE == b"1" else "release"
