"""The kinds of receivers: one line each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.ports import Notifier
from taskwatch.notifiers import alertmanager, apprise, email, file, log, pagerduty, program, webhook


@dataclass(frozen=True, slots=True)
class Kind:
    """What `type:` names: the options it takes, and how it is opened (options, clock=, log=, alerts=)."""

    options: type[ReceiverOptions]
    open: Callable[..., Notifier]


NOTIFIERS: Final[dict[str, Kind]] = {
    "exec": Kind(program.ExecOptions, program.open_notifier),
    "file": Kind(file.FileOptions, file.open_notifier),
    "email": Kind(email.EmailOptions, email.open_notifier),
    "apprise": Kind(apprise.AppriseOptions, apprise.open_notifier),
    "log": Kind(log.LogOptions, log.open_notifier),
    "alertmanager": Kind(alertmanager.AlertmanagerOptions, alertmanager.open_notifier),
    "pagerduty": Kind(pagerduty.PagerdutyOptions, pagerduty.open_notifier),
    "webhook": Kind(webhook.WebhookOptions, webhook.open_notifier),
}
