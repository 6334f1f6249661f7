"""The kinds of receivers: one line each.

The module of a kind is imported when a configuration names it: the daemon carries no other, and a command that only
reads the configuration opens none.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from taskwatch.config.kinds import Kinds
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.ports import Notifier
from taskwatch.notifiers.plugin import Plugins


@dataclass(frozen=True, slots=True)
class Kind:
    """What `type:` names: the options it takes, and how it is opened (options, clock=, log=, alerts=)."""

    module: str  # beside this one; it has the function open_notifier
    takes: str  # the name of its options there

    @property
    def options(self) -> type[ReceiverOptions]:
        found: type[ReceiverOptions] = getattr(self._imported(), self.takes)
        return found

    @property
    def open(self) -> Callable[..., Notifier]:
        found: Callable[..., Notifier] = self._imported().open_notifier
        return found

    def _imported(self) -> Any:
        return importlib.import_module(f"taskwatch.notifiers.{self.module}")


NOTIFIERS: Final[dict[str, Kind]] = {
    "exec": Kind("program", "ExecOptions"),
    "file": Kind("file", "FileOptions"),
    "email": Kind("email", "EmailOptions"),
    "apprise": Kind("apprise", "AppriseOptions"),
    "log": Kind("log", "LogOptions"),
    "alertmanager": Kind("alertmanager", "AlertmanagerOptions"),
    "pagerduty": Kind("pagerduty", "PagerdutyOptions"),
    "webhook": Kind("webhook", "WebhookOptions"),
}


def kinds() -> Mapping[str, type[ReceiverOptions]]:
    """Return the kinds of receivers there are, by the name that `type:` gives them; those of plug-ins among them."""
    return Kinds(NOTIFIERS, Plugins())


def shadowed(receivers: Iterable[ReceiverOptions]) -> Iterator[str]:
    """Say in a printable line each which types are used that a plug-in brings too: the built-in one is used."""
    plugins = Plugins()
    for kind in sorted({options.type for options in receivers} & NOTIFIERS.keys() & plugins.names()):
        yield f"type {kind}: {plugins.packages(kind)} brings it too, and the built-in one is used; uninstall the package"
