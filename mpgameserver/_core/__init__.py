"""The compiled core. Private: its modules serve the package and may change without notice.

All of them are imported here first. Freezers (PyInstaller, Nuitka) read the imports of Python
modules and cannot see those of compiled ones; and an error of the build is explained in one place.
"""

import sys

from mpgameserver._core.notbuilt import explain, is_ours

try:
    from mpgameserver._core import (  # noqa: F401
        ack_frequency,
        ack_schedule,
        acks2,
        aead,
        aesgcm,
        black_hole,
        budget,
        build,
        call_budget,
        callbacks,
        channel_queues,
        channel_receiver,
        channel_sender,
        congestion,
        connection,
        connection_ids,
        control_frames,
        datagrams,
        dispatcher,
        duplicate_filter,
        endpoint,
        endpoint1,
        endpoint2,
        endpoint2_state,
        fifo,
        fragment_limits,
        fragmenter,
        frame_writer,
        frames,
        grid_reassembly,
        hello_heads,
        lanes,
        message,
        message_rate,
        ordered_delivery,
        outbox,
        outgoing,
        packet,
        packet_builder,
        packet_cipher,
        packet_header,
        packet_protection,
        path_mtu,
        peer_clock,
        progress,
        pump,
        rate_bins,
        receive_window,
        received_packets,
        receiving2,
        rtt,
        send_limits,
        send_queue,
        sending2,
        sent_window,
        seqnum,
        session,
        setup_pieces,
        timers,
        unordered_sender,
    )
except ImportError as _error:
    if not is_ours(_error):
        raise  # of another package, such as cryptography
    raise explain(_error) from _error

# A free-threaded interpreter switches the lock on for modules that do not declare support for
# running without it, unless it is told not to (PYTHON_GIL=0, -X gil=0).
if not getattr(sys, "_is_gil_enabled", lambda: True)():
    raise ImportError(
        "mpgameserver needs the global interpreter lock, which is off (PYTHON_GIL=0 or -X gil=0): "
        "without it threads corrupt its memory. Leave it to Python to switch the lock on"
    )
