"""The command line for operators: `python -m gospa --help`."""

import os
import sys

from sanic.log import LOGGING_CONFIG_DEFAULTS

from gospa import dotenv
from gospa.cli.main import main

# Log lines must not mix with the output.
LOGGING_CONFIG_DEFAULTS["handlers"]["console"]["stream"] = sys.stderr
try:
    os.environ.update(dotenv.merged(os.environ, {}))
except dotenv.Ambiguous as error:
    sys.exit(str(error))
try:
    code = main(sys.argv[1:])
    sys.stdout.flush()
except BrokenPipeError:  # the program that reads the output has ended, such as `head`
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    code = 1
sys.exit(code)
