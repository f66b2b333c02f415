"""The command line for operators: `python -m gospa --help`."""

import sys

from sanic.log import LOGGING_CONFIG_DEFAULTS

from gospa.cli import main

# Log lines must not mix with the output.
LOGGING_CONFIG_DEFAULTS["handlers"]["console"]["stream"] = sys.stderr
sys.exit(main(sys.argv[1:]))
