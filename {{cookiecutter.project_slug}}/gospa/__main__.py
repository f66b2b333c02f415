"""The command for those who operate the application: `python -m gospa --help`."""

import sys

from sanic.log import LOGGING_CONFIG_DEFAULTS

from gospa.cli import main

# What is logged on the way must not mix with what was asked for.
LOGGING_CONFIG_DEFAULTS["handlers"]["console"]["stream"] = sys.stderr
sys.exit(main(sys.argv[1:]))
