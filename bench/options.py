"""The command line."""

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = (
    *("load-client", "fan-out", "commits", "joins", "memory"),
    *("inbound", "scaling", "transports", "changes", "items", "sessions", "stalls", "floods"),
    "starting",
)
DESCRIPTION = """\
Measure the template's application side by side with others, on this machine and in one go.

Other servers come from PyPI, npm and the Go module proxy into a cache folder. A C compiler and
redis-server have to be there; without node or go, their servers are left out.
"""


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="bench",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "measures",
        nargs="*",
        metavar="MEASURE",
        help=f"some of {', '.join(NAMES)} (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="one short round: some minutes")
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "bench/results",
        metavar="DIR",
        help="where results go (default: bench/results; with --quick the cache)",
    )
    parser.add_argument(
        "--cache", type=Path, default=ROOT / ".bench", metavar="DIR", help="default: .bench"
    )
    return parser


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read and check the command line."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.measures if name not in NAMES]:
        parser.error(f"there is no measure {unknown[0]}: choose from {', '.join(NAMES)}")
    options.measures = options.measures or list(NAMES)
    options.cache = options.cache.resolve()
    options.output = options.output.resolve()
    return options
