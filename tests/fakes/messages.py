"""Messages as a lane gives them to a notifier, and the texts that a hostile cloud would put into them."""

from typing import Final

from taskwatch.core.events import task_event
from taskwatch.model.delivery import Message
from taskwatch.model.event import Severity
from taskwatch.model.task import FAILED, Instance
from tests.fakes.builders import a_project, a_reading, a_task, a_transition

HOSTILE: Final = {
    "ANSI": "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "lines": "one\ntwo\rthree\u2028four\u2029five\x0bsix\x85seven",
    "NUL": "a\0b",
    "bidi": "abc\u202efdp.exe\u2066\u200f\u061c",
    "headers": "x\r\nwebhook-id: tw_forged\r\n\r\nGET / HTTP/1.1",
    "markup": "<script>alert(1)</script> {{7*7}} ${jndi:ldap://x} %s %n \"'; --",
    "long": "A" * 10_000,
    "private use": "\ue000\U000f0000\u00ad\ufeff",
}


def a_message(
    *,
    reason: str = "no space left",
    job_id: str = "job-1",
    severity: Severity = Severity.CRITICAL,
    replay: bool = False,
) -> Message:
    """Return the message of a task that failed for this reason, which its instance bears as a name too."""
    task = a_task(
        job_id, status=FAILED, fail_reason=reason, instance=Instance(id="in-1", name=reason, status="normal")
    )
    event = task_event(
        a_transition(task),
        project=a_project(),
        sequence=1,
        reading=a_reading(),
        failure_severities=(("*", severity),),
    )
    return Message(event_id=event.id, body=event.body, replay=replay)
