"""Bots that ask a server which sends everything back."""

import sys

from swarm.command import main

sys.exit(main())
