"""What receivers that write to people share: who of several has a letter already, and words that can be shown."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from taskwatch.model.delivery import Message
from taskwatch.model.event import EventId
from taskwatch.model.letter import Letter
from taskwatch.secret import hidden
from taskwatch.telemetry import printable

REMEMBERED: Final = 1000  # messages; what was told of one that is forgotten is told again
SUBJECT: Final = 250  # characters
NAMED: Final = 3  # of those who did not take it
SHOWN: Final = 200  # characters of what others say
_SHORTEST_SECRET: Final = 6  # anything shorter would take ordinary words apart


class Taken:
    """Remembers who of several took a message that not all of them have: the next attempt is for the others.

    A replay is a message of its own: who asks for it wants all to have it.
    """

    def __init__(self) -> None:
        self._by: OrderedDict[tuple[EventId, bool], set[str]] = OrderedDict()

    def by(self, message: Message) -> Collection[str]:
        """Return who has it, as far as that is remembered."""
        return frozenset(self._by.get((message.event_id, message.replay), ()))

    def note(self, message: Message, who: Collection[str]) -> None:
        if not who:
            return
        key = (message.event_id, message.replay)
        self._by.setdefault(key, set()).update(who)
        self._by.move_to_end(key)
        if len(self._by) > REMEMBERED:
            self._by.popitem(last=False)

    def forget(self, message: Message) -> None:
        """Forget a message that nobody waits for any more."""
        self._by.pop((message.event_id, message.replay), None)


def named(who: Sequence[str]) -> str:
    """Name the first of them, and count the others."""
    more = f" and {len(who) - NAMED} more" if len(who) > NAMED else ""
    return f"{', '.join(who[:NAMED])}{more}"


def subject_of(letter: Letter) -> str:
    """Return the subject as a header bears it: one line without control characters, whatever the letter holds."""
    words = [word for word in printable(letter.subject).split(" ") if word]  # readers join what headers fold
    return printable(" ".join(words), SUBJECT)  # cut here too: escaping made it longer


def shown(said: str, secrets: Iterable[str]) -> str:
    """Return the first line of what others say, without the secrets they may repeat, cut and harmless."""
    lines = said.strip().splitlines() or [""]
    # Before the cut: a secret cut in the middle would not be found any more.
    return printable(hidden(lines[0], secrets, shortest=_SHORTEST_SECRET)[: 4 * SHOWN], SHOWN)
