"""Messages to people as a lane gives them to a notifier."""

from taskwatch.model.delivery import Message
from taskwatch.model.event import EventId, Severity
from taskwatch.model.letter import Letter, written
from tests.fakes.builders import T0


def a_letter(
    event_id: str = "tw_nbswy3dpeb3w64tmmqqho33snrscc",
    *,
    subject: str = "Backup of orders failed",
    text: str = "no space left",
    html: str | None = None,
    severity: Severity = Severity.CRITICAL,
    thread: str = "tw_ifbegrcfizdg",
    replay: bool = False,
) -> Message:
    letter = Letter(subject=subject, text=text, html=html, severity=severity, at=T0, thread=thread)
    return Message(event_id=EventId(event_id), body=written(letter), replay=replay)
