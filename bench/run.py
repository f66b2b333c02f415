"""Take all measures and write the report; started by `__main__` where everything is installed."""

import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from bench import report
from bench.centrifuge import CENTRIFUGO, MAP_BROKER
from bench.figures import Figures
from bench.machine import describe
from bench.measures import MEASURES
from bench.options import parse
from bench.peers import PICOWS, SOCKETIFY
from bench.processes import BenchError
from bench.setting import prepared


def main() -> int:
    """Returns the exit code."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    began = time.monotonic()
    figures = Figures([])

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)

    folder = options.cache / "quick" if options.quick else options.output
    with prepared(options.cache, Path(sys.executable), quick=options.quick, say=say) as setting:
        machine = describe(setting.place)
        if not setting.has_node:
            setting.left_out["Node ws, Socket.IO"] = "there is no node"
        for peer in (CENTRIFUGO, MAP_BROKER):
            if not setting.has(peer):
                setting.left_out[peer.name] = "there is no go, or it could not be built"
        for peer in (PICOWS, SOCKETIFY):
            if find_spec(peer.name) is None:
                setting.left_out[peer.name] = "it could not be installed"
        for name in options.measures:
            try:
                for sample in MEASURES[name](setting):
                    figures.samples.append(sample)
            except (BenchError, OSError, ValueError, subprocess.SubprocessError) as error:
                setting.leave_out(name, error)
    report.write(folder, figures, machine, setting.left_out)
    print(report.goals(figures))
    say(f"Written to {folder}")
    return 1 if setting.left_out.keys() & MEASURES.keys() else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
