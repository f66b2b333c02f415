"""What the bench says is what was measured; that it runs at all, with a few clients."""

import contextlib
import json
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import centrifuge, frames, golang, members, options, report
from bench.__main__ import compile_programs
from bench.figures import Figures, Sample, Spread
from bench.goals import GOALS
from bench.load import Speech
from bench.measures import MEASURES, commits, items, transports
from bench.peers import C_LOOP, LIMIT, OURS, Peer, ours
from bench.processes import BenchError
from bench.setting import Setting, prepared

CLIENTS = 20
ONE = Sample("fan-out", "500 clients, 200 B, 8 under way", "deliveries/s", OURS, 0, 300.0)


@pytest.fixture
def figures() -> Figures:
    """Two rounds of ours, of which the C loop shares one, and another server none."""
    return Figures(
        [
            ONE,
            replace(ONE, round=1, value=500.0),
            replace(ONE, subject=LIMIT, value=100.0),
            replace(ONE, subject="tutorial Sanic", round=7, value=50.0),
        ]
    )


def test_a_spread_is_of_all_rounds(figures: Figures) -> None:
    assert figures.spread(subject=OURS) == Spread(400, 300, 500)
    assert figures.spread(subject="nobody") is None


def test_ratios_are_taken_within_a_round(figures: Figures) -> None:
    assert figures.ratio(OURS, LIMIT) == Spread(3, 3, 3)
    assert figures.ratio(OURS, "tutorial Sanic") is None


def test_a_goal_is_reached_by_its_median(figures: Figures) -> None:
    goal = next(goal for goal in GOALS if goal.other == LIMIT and goal.case == ONE.case)
    result = goal.result(figures)
    assert result is not None
    assert goal.reached(result)
    assert not replace(goal, bound=3.1).reached(result)
    assert not replace(goal, bound=2.9, at_most=True).reached(result)


def test_the_report_has_goals_tables_machine_and_what_was_left_out(figures: Figures) -> None:
    text = report.markdown(figures, {"cores": "2"}, {"Node ws": "there is no node"})
    assert "| fan-out, 8 under way: of the C loop | >= 1.5 | 3 | yes |" in text
    assert f"| | {OURS} | {LIMIT} | tutorial Sanic |" in text
    assert f"| {ONE.case} | 400 | 100 (3) | 50 |" in text
    assert "| cores | 2 |" in text
    assert "- Node ws: there is no node" in text


def test_the_chart_is_a_picture_of_all(figures: Figures, tmp_path: Path) -> None:
    report.write(tmp_path, figures, {}, {})
    picture = ET.parse(tmp_path / "fan-out.svg")  # noqa: S314 - written here
    texts = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {OURS, LIMIT, "tutorial Sanic", "400"} <= texts
    assert (tmp_path / "results.json").is_file()


@pytest.mark.parametrize("size", [0, 125, 126, 2**16 - 1, 2**16])
def test_a_clients_frame_has_its_size_and_a_mask_that_changes_nothing(size: int) -> None:
    payload = os.urandom(size)
    frame = frames.frame(payload)
    assert frame[0] == 0x82
    assert frame.endswith(bytes(4) + payload)
    assert frame[1] & 0x80


def test_a_payload_has_its_size_and_a_command_its_parts() -> None:
    assert len(frames.payload(200)) == 200
    assert frames.command("GET", b"\x00", 12) == b"*3\r\n$3\r\nGET\r\n$1\r\n\x00\r\n$2\r\n12\r\n"


def test_the_command_line_knows_all_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(MEASURES) == list(options.NAMES)
    assert options.parse(["memory"]).measures == ["memory"]
    assert options.parse([]).measures == list(options.NAMES)
    with pytest.raises(SystemExit, match="2"):
        options.parse(["memroy"])
    assert "there is no measure memroy" in capsys.readouterr().err


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """All that a measure needs, with the Python that runs this test."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    cache = tmp_path_factory.mktemp("bench")
    compile_programs(cache)
    with prepared(cache, Path(sys.executable), quick=True, say=print) as setting:
        redis = setting.redis.process
        yield setting
    assert redis.poll() is not None


@pytest.mark.parametrize("kind", commits.KINDS)
def test_redis_benchmark_makes_the_commits_that_it_is_compared_by(
    setting: Setting, kind: str
) -> None:
    if shutil.which(commits.REDIS_BENCHMARK) is None:
        pytest.skip("there is no redis-benchmark")
    assert commits.redis_benchmark(setting, kind) > 0


def test_what_items_and_members_cost_is_measured_by_their_number(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "SIZES", (10,))
    monkeypatch.setattr(items, "FEWER", CLIENTS)
    found = list(items.measure(setting))
    assert {sample.case for sample in found} == {
        *("10 items: change a field", "10 items: change an item", "10 items: len"),
        *("10 items: append and remove the oldest", "10 items: join", f"{CLIENTS} members"),
    }
    metrics = {sample.metric for sample in found}
    assert {"mutations/s", "us of Redis", "bytes to each when one more comes"} < metrics
    assert [sample for sample in found if sample.value <= 0] == []


def test_what_a_delivered_message_costs_is_measured_by_transport(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "MEMBERS", {"a few": 3})
    found = {
        (sample.metric, sample.subject): sample.value for sample in transports.measure(setting)
    }
    metrics = ("us CPU per delivered message", "bytes per delivered message")
    subjects = list(transports.TRANSPORTS)[:2]  # others have to be installed
    assert found.keys() == {(each, subject) for each in metrics for subject in subjects}
    assert min(found.values()) > 0
    sent = [found[metrics[1], subject] for subject in subjects]
    assert sent[0] > transports.SIZE
    assert sent[0] < sent[1] < 2 * sent[0]  # base64 takes a third more, and each event a few bytes


@pytest.mark.parametrize("peer", [ours(), C_LOOP], ids=lambda peer: peer.name)
def test_each_message_arrives_once_and_in_order(setting: Setting, peer: Peer) -> None:
    fan, redis = peer.fan(), setting.place.redis
    with (
        setting.serve(peer) as (child, port),
        setting.load.connect(port, CLIENTS, fan.speech, redis=redis) as load,
    ):
        runs = [
            load.run(0.3, window=8, command=fan.publish(200)),
            load.run(0.3, rate=100, command=fan.publish(2000)),
        ]
        assert child.cpu() > 0
        assert child.resident() > 0
    for run in runs:
        run.check(peer.name)
        assert run.messages > 0
    assert child.process.poll() is not None


def test_a_message_that_arrives_twice_is_noticed(setting: Setting) -> None:
    fan, redis = C_LOOP.fan(), setting.place.redis
    with (
        setting.serve(C_LOOP) as (_, port),
        setting.load.connect(port, CLIENTS, fan.speech, redis=redis) as load,
    ):
        run = load.run(0.2, window=1, command=fan.publish(200) * 2)
    with pytest.raises(BenchError, match="out of order or twice"):
        run.check("the C loop")


HEADER = 6  # bytes of a client's frame before a small payload
MARK = b"#seq:" + frames.SEQUENCE_HEX
CALL = b'{"id":%b,"text":"%b"}' % (frames.NUMBER, MARK)


def echo_in_one_frame(listening: socket.socket, seen: list[bytes]) -> None:
    """Answer all that a client sent meanwhile in one frame, until it leaves."""
    size, received = HEADER + len(CALL), b""
    with contextlib.suppress(ConnectionError), listening.accept()[0] as connection:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        while data := connection.recv(1 << 16):
            received += data
            whole = len(received) // size
            calls = [received[at * size + HEADER : (at + 1) * size] for at in range(whole)]
            received = received[whole * size :]
            seen += calls
            joined = b"\n".join(calls)
            connection.sendall(b"\x81\x7f" + len(joined).to_bytes(8) + joined)


def test_messages_that_share_a_frame_are_counted_each(setting: Setting) -> None:
    speech = Speech(frames.handshake("/"), call=frames.frame(CALL), answer=b'"text":', joined=True)
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=echo_in_one_frame, args=(listening, seen))
        server.start()
        with setting.load.connect(listening.getsockname()[1], 1, speech, each=16) as load:
            run = load.run(0.2)
        server.join()
    assert 16 < run.answers == run.deliveries <= len(seen)
    assert run.disorder == run.others == 0
    assert run.reads < run.answers
    numbers = [json.loads(call)["id"] for call in seen]
    assert numbers == list(range(1_000_000_001, 1_000_000_001 + len(seen)))


GO = """\
#!/bin/sh
case "$1" in
  install) echo "$2" >> "$GOBIN/done"; touch "$GOBIN/centrifugo" ;;
  build) echo map broker >> "$GOBIN/done"; touch "$5" ;;
  version) printf 'path x\\n\\tmod\\t%s\\t%s\\th1:x\\n' {module} {version} ;;
esac
"""


def test_servers_in_go_are_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "go-itself/go"
    program.parent.mkdir()
    script = GO.format(module=golang.CENTRIFUGO, version=golang.VERSION)
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    for _ in range(2):
        golang.build(tmp_path)
    done = (tmp_path / "go/done").read_text().splitlines()
    assert done == [f"{golang.CENTRIFUGO}@{golang.VERSION}", "map broker"]
    program.write_text(script.replace(golang.VERSION, "v6.0.0"))
    golang.build(tmp_path)
    assert len((tmp_path / "go/done").read_text().splitlines()) == 3


def test_servers_in_go_are_left_out_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    golang.build(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "go-itself").mkdir()
    (tmp_path / "go-itself/go").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "go-itself/go").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "go-itself"))
    golang.build(tmp_path)
    assert capsys.readouterr().out.count("this server is left out") == 2


def test_what_centrifugo_is_sent_is_as_its_protocol_says() -> None:
    speech = centrifuge.adding("room-@conn6")
    first, second = speech.opening.split(bytes(4))[1].splitlines()
    assert json.loads(first) == {"id": 1, "connect": {}}
    subscribed = {"channel": "room-@conn6", "type": 1, "phase": 2}
    assert json.loads(second) == {"id": 2, "subscribe": subscribed}
    call = speech.call.split(bytes(4))[1].replace(frames.NUMBER, b"1000000001")
    assert json.loads(call)["publish"]["channel"] == "room-@conn6"
    publication = centrifuge.fan().publish(200).split(b"\r\n")[-2]
    assert publication[:3] == bytes([4 << 3 | 2, 202 & 0x7F | 0x80, 202 >> 7])
    assert len(json.loads(publication[3:])) == 200


def test_messages_are_found_in_what_each_transport_sends() -> None:
    polled = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nDate: x\r\n\r\n2\x1e42HTTP"
    assert members.split_answers(polled) == ([b"2", b"42"], b"HTTP")
    assert members.split_answers(polled[:-6]) == ([], polled[:-6])
    assert members.split_texts(b"1f\r\ndata: {}\n\n\r\ndata: {") == ([b"{}"], b"\r\ndata: {")
    assert members.split_events(b"data: YWI=\n\n") == ([b"ab"], b"")
    sent = b"".join(map(frames.frame, (b"ab", os.urandom(200))))
    found, rest = members.split_frames(sent + b"\x82\x83", mask=4)
    assert [len(message) for message in found] == [2, 200]
    assert rest == b"\x82\x83"
