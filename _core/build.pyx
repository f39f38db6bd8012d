# The kind of this build, as the C compiler saw it.
#
# Cython's hooks are compiled in or out by these two macros; they are not even defined unless a
# directive asked for hooks. A macro is read where it is used, so this sees the value that the hooks
# of this very module were compiled with, wherever it was set.

cdef extern from *:
    """
    #define MPGAMESERVER_TEXT(value) #value
    #define MPGAMESERVER_VALUE_OF(macro) MPGAMESERVER_TEXT(macro)
    #if defined(__SANITIZE_ADDRESS__)
    #define MPGAMESERVER_SANITIZED 1
    #elif defined(__has_feature)
    #if __has_feature(address_sanitizer)
    #define MPGAMESERVER_SANITIZED 1
    #endif
    #endif
    #ifndef MPGAMESERVER_SANITIZED
    #define MPGAMESERVER_SANITIZED 0
    #endif
    """
    const bint SANITIZED "MPGAMESERVER_SANITIZED"
    const char *PROFILE "MPGAMESERVER_VALUE_OF(CYTHON_PROFILE)"
    const char *TRACE "MPGAMESERVER_VALUE_OF(CYTHON_TRACE)"

__all__ = ["KIND"]

KIND = (
    "sanitize" if SANITIZED else
    "debug" if TRACE == b"1" else
    "profile" if PROFILE == b"1" else
    "release"
)
