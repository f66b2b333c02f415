"""What the load client can take: a C program writes to 2,000 sockets as fast as they are read."""

from collections.abc import Iterator

from bench import frames
from bench.figures import Sample
from bench.load import Speech
from bench.processes import free_port
from bench.setting import Setting

CLIENTS = 2000


def measure(setting: Setting) -> Iterator[Sample]:
    """Messages per second that the load client reads and checks."""
    for number in setting.rounds(2):
        port = free_port()
        program = str(setting.place.programs / "cloop")
        command = [program, str(port), "drain", str(CLIENTS)]
        source = setting.stage.start("drain", command, setting.here)
        source.await_port(port)
        speech = Speech(frames.handshake("/ws"))
        with setting.load.connect(port, CLIENTS, speech) as load:
            run = load.run(setting.seconds(1))
        setting.stage.stop(source)
        case = f"{CLIENTS:,} connections, 200 B"
        for metric, value in {
            "messages/s": run.deliveries / run.seconds,
            "messages per CPU-second": run.deliveries / run.cpu_s,
        }.items():
            yield Sample("load client", case, metric, "load client", number, value)
