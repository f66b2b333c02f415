"""One worker against two, on all cores: fan-out as a whole and for each second of CPU."""

from collections.abc import Iterator

from bench.figures import Sample
from bench.measures.fanout import CLIENTS, SIZE
from bench.peers import OURS, ours
from bench.setting import Setting


def measure(setting: Setting) -> Iterator[Sample]:
    """Where there are two cores, load client and Redis share them with the workers."""
    everywhere = setting.here | setting.there
    with setting.serve(ours(), everywhere) as one, setting.serve(ours(2), everywhere) as two:
        for number in setting.rounds(3):
            for subject, (child, port) in ((OURS, one), (f"{OURS}, 2 workers", two)):
                setting.say(f"scaling, round {number + 1}: {subject}")
                fan = ours().fan()
                redis = setting.place.redis
                with setting.load.connect(port, CLIENTS, fan.speech, redis=redis) as load:
                    before = child.cpu()
                    run = load.run(setting.seconds(1), window=8, command=fan.publish(SIZE))
                    spent = child.cpu() - before
                run.check(subject)
                case = f"{CLIENTS} clients, {SIZE} B, 8 under way"
                for metric, value in {
                    "deliveries/s": run.deliveries / run.seconds,
                    "deliveries per CPU-second": run.messages * CLIENTS / spent,
                }.items():
                    yield Sample("scaling", case, metric, subject, number, value)
