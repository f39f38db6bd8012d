"""`python -m mpgameserver`: the command line."""

from __future__ import annotations

import sys

from mpgameserver.cli.commands import main

sys.exit(main())
