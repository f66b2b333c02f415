"""What the guest writes, whom the server plays so that nobody is alone in a demonstration."""

from msgspec import Struct

LINES = (
    "Hello! I am a bot: rooms/guest.py has my text, and an alarm of the board writes it.",
    "Write in this note while I do. It is yours then, and I begin another one.",
    "Open this page on your phone, too, or kill my worker: I go on with another one.",
)
# What its note says after each turn: a word more, and then the next line.
TURNS = [
    " ".join(words[:count])
    for words in (line.split() for line in LINES)
    for count in range(1, len(words) + 1)
]
STAY = 60  # turns, after which it leaves unless it is invited again
WORD, LINE = 0.3, 5.0  # seconds until it writes the next one


class Guest(Struct):
    name: str = "Robin (a bot)"
    note: str = ""  # the id of the one that it writes
    turn: int = 0
    left: int = STAY

    @property
    def text(self) -> str:
        """What it has written last."""
        return TURNS[(self.turn - 1) % len(TURNS)]

    @property
    def pause(self) -> float:
        """Seconds until its next turn."""
        return LINE if self.text in LINES else WORD
