"""The compiled core. Private: its modules serve the package and may change without notice."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Never run. PyInstaller and its kin read here what a frozen game needs, for they do not see
    # which modules a compiled one imports.
    from mpgameserver._core import (  # noqa: F401
        aesgcm,
        budget,
        build,
        builder,
        cadence,
        callbudget,
        congestion,
        datagrams,
        duplicates,
        endpoint,
        fifo,
        flow,
        fragments,
        header,
        lanes,
        lifecycle,
        message,
        messagerate,
        outbox,
        packet,
        pump,
        roundtrip,
        seal,
        seqnum,
        session,
        switchboard,
        timers,
        traffic,
        window,
    )
