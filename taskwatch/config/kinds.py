"""The kinds of receivers that a file may name: those built in, and those of plug-ins.

Kinds are loaded when they are named: a configuration runs no code of the others. Plug-ins are looked for when a kind is
named that is not built in. A built-in kind is never replaced.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from pydantic import ValidationError

from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.section import wrong
from taskwatch.errors import ConfigError


class BuiltIn(Protocol):
    """A kind that is built in."""

    @property
    def options(self) -> type[ReceiverOptions]:
        """Load it, and return what can be said of its receivers."""
        ...


class Plugins(Protocol):
    """The kinds that are brought by others."""

    def names(self) -> Collection[str]: ...

    def options(self, kind: str) -> type[ReceiverOptions]:
        """Load the kind, and return what can be said of its receivers. Raises ConfigError."""
        ...


class Kinds(Mapping[str, type[ReceiverOptions]]):
    """All kinds, by what `type:` calls them. One that cannot be loaded is a mistake at `type`."""

    def __init__(self, built_in: Mapping[str, BuiltIn], plugins: Plugins) -> None:
        self.built_in = built_in
        self._plugins = plugins

    def __getitem__(self, kind: str) -> type[ReceiverOptions]:
        if kind in self.built_in:
            return self.built_in[kind].options
        if kind not in self._plugins.names():
            raise KeyError(kind)
        try:
            return self._plugins.options(kind)
        except ConfigError as error:
            mistake = wrong(("type",), "; ".join(error.problems))
            raise ValidationError.from_exception_data("type", [mistake], hide_input=True) from error

    def __contains__(self, kind: object) -> bool:
        return kind in self.built_in or kind in self._plugins.names()

    def __iter__(self) -> Iterator[str]:
        yield from self.built_in
        yield from sorted(set(self._plugins.names()) - self.built_in.keys())

    def __len__(self) -> int:
        return len(self.built_in.keys() | set(self._plugins.names()))


def described(kinds: Mapping[str, type[ReceiverOptions]]) -> list[type[ReceiverOptions]]:
    """Return the kinds that a schema of the configuration knows: what is installed beside changes no schema."""
    if isinstance(kinds, Kinds):
        return [kind.options for kind in kinds.built_in.values()]
    return list(kinds.values())
