"""The command for those who operate the application: `python -m server --help`."""

import sys

from sanic.log import LOGGING_CONFIG_DEFAULTS

from server.operate import main

# What is logged on the way must not mix with what was asked for.
LOGGING_CONFIG_DEFAULTS["handlers"]["console"]["stream"] = sys.stderr
sys.exit(main(sys.argv[1:]))
