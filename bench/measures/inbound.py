"""What a small frame costs that comes in, is parsed, checked and answered."""

from collections.abc import Iterator
from dataclasses import replace

from bench import frames
from bench.figures import Sample
from bench.load import Speech
from bench.peers import NODE_WS, OURS, new_room, ours, speech_of
from bench.setting import Setting

PING, PONG = b"\x91\x05", b"\x91\x07"
CLIENTS = 10


def measure(setting: Setting) -> Iterator[Sample]:
    """Ours checks and answers PING; Node ws sends the same bytes back without a look at them."""
    member = replace(speech_of(new_room().encode(), PING), answer=PONG)
    echo = Speech(frames.handshake("/ws"), call=frames.frame(PING), answer=PING)
    peers = {peer.name: peer for peer in setting.peers()}
    subjects = [(ours(), member), (peers.get(NODE_WS.name), echo)]
    for number in setting.rounds(3):
        for peer, speech in subjects:
            if peer is None:
                continue
            setting.say(f"inbound, round {number + 1}: {peer.name}")
            with (
                setting.serve(peer) as (child, port),
                setting.load.connect(port, CLIENTS, speech, each=16) as load,
            ):
                before = child.cpu()
                run = load.run(setting.seconds(1))
                cost = (child.cpu() - before) / run.answers * 1e6
                rate = run.answers / run.seconds
            case = f"{CLIENTS} clients, {len(PING)} B"
            name = OURS if peer.name == OURS else f"{peer.name}, echo"
            yield Sample("inbound", case, "us CPU per frame", name, number, cost)
            yield Sample("inbound", case, "frames/s", name, number, rate)
