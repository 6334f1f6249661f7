"""A group of commands that says what was probably meant by a name it does not have."""

from collections.abc import Iterable

import click


class GuidingGroup(click.Group):
    """Answers for an unknown command with the nearest one, and for a planned one that it is to come."""

    planned: frozenset[str] = frozenset()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, names = args[0], self.list_commands(ctx)
        if name not in names and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"{name} is not in this version" if name in self.planned else _unknown(name, names))
        return super().resolve_command(ctx, args)


def _unknown(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, names, n=1)
    return f"no command {name!r}; did you mean {close[0]}?" if close else f"no command {name!r}"
