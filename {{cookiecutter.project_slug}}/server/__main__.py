"""The command for those who operate the application: `python -m server --help`."""

import sys

from server.operate import main

sys.exit(main(sys.argv[1:]))
