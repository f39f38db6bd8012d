"""Send a file to a server; run it again to go on where it was interrupted."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from filetransfer.options import key_file
from filetransfer.sending import Outgoing, offer_of
from filetransfer.transfer import Report, Tell, Transfer, TransferError
from mpgameserver import UdpClient

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    DownloadColumn(),
    TransferSpeedColumn(),
    TimeRemainingColumn(),
)


def send(
    path: Path,
    server: tuple[str, int],
    key: Path,
    report: Report,
    tell: Tell,
    patience: float,
) -> None:
    """Send a file, and go on when the connection was lost.

    Raises TransferError when that cannot be done, and OSError for a file that cannot be read.
    """
    offer = offer_of(path)
    with path.open("rb") as file, UdpClient(key) as client:
        outgoing = Outgoing(file, offer.size)
        Transfer(client, server, offer, outgoing, report, tell, patience).run()
        client.waitForDisconnect()


def main() -> int:
    """Read the command line, and send; 1 when that failed."""
    parser = argparse.ArgumentParser(prog="python -m filetransfer.send", description=__doc__)
    parser.add_argument("file", type=Path, help="what to send")
    parser.add_argument("--host", default="127.0.0.1", help="of the server (%(default)s)")
    parser.add_argument("--port", type=int, default=1474, help="of the server (%(default)s)")
    parser.add_argument(
        "--key", type=key_file, default="files.pem.pub", help="public key (%(default)s)"
    )
    parser.add_argument(
        "--patience", type=float, default=60.0, help="seconds to wait for it (%(default)g)"
    )
    options = parser.parse_args()
    address = (options.host, options.port)
    try:
        with Progress(*COLUMNS) as progress:
            task = progress.add_task(options.file.name, total=options.file.stat().st_size)

            def report(confirmed: int) -> None:
                progress.update(task, completed=confirmed)

            send(
                options.file,
                address,
                options.key,
                report,
                progress.console.print,
                options.patience,
            )
    except (OSError, ValueError, TransferError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{options.file}: sent, and its SHA-256 is right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
