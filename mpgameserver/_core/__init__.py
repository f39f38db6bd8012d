"""The compiled core. Private: its modules serve the package and may change without notice.

All of them are imported here, and no one elsewhere first. Freezers (PyInstaller, Nuitka) read what
a program imports, and cannot see what a compiled module does; and what is wrong with the build is
said here, once.
"""

import sys

from mpgameserver._core.notbuilt import explain, is_ours

try:
    from mpgameserver._core import (  # noqa: F401
        ack_frequency,
        aead,
        aesgcm,
        black_hole,
        budget,
        build,
        call_budget,
        callbacks,
        congestion,
        connection,
        datagrams,
        dispatcher,
        duplicate_filter,
        endpoint,
        fifo,
        fragmenter,
        frames,
        lanes,
        message,
        message_rate,
        packet,
        packet_builder,
        packet_cipher,
        packet_header,
        packet_protection,
        pump,
        rate_bins,
        receive_window,
        rtt,
        send_limits,
        send_queue,
        sent_window,
        seqnum,
        session,
        timers,
    )
except ImportError as _error:
    if not is_ours(_error):
        raise  # another package's, such as cryptography
    raise explain(_error) from _error

# An interpreter without the lock switches it on for modules that do not declare to do without,
# unless it is told not to (PYTHON_GIL=0, -X gil=0).
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    raise ImportError(
        "mpgameserver needs the global interpreter lock, which is off (PYTHON_GIL=0 or -X gil=0): "
        "without it threads corrupt its memory. Leave it to Python to switch the lock on"
    )
