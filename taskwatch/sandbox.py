"""The language of templates: Jinja2, without what reaches out of a text.

Invariants:
- A template sees what it is given, and beside that `range`, `dict` and `namespace`. It loads no other template.
- To read one computes nothing: `10**10**10` stands in it, and is nobody's number yet. Only the worker goes further.
- What is undefined is an error, not an empty text.
"""

from collections.abc import Collection
from typing import Final

from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

from taskwatch.errors import TaskwatchError

_GLOBALS: Final = ("range", "dict", "namespace")
_OF_JINJA: Final = ("loop", "self", "super", "caller", "varargs", "kwargs")
_LOADING: Final[dict[type[nodes.Node], str]] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
}
_CHECKED: Final[tuple[type[nodes.Node], ...]] = (*_LOADING, nodes.Filter, nodes.Test)


class NoTemplateError(TaskwatchError):
    """The text is no template. Says in which line, and what to write."""


def environment(*, is_html: bool = False) -> SandboxedEnvironment:
    """Return what templates are read and filled in with; for HTML every value is escaped.

    A line that holds nothing but a tag leaves no line behind.
    """
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=is_html, trim_blocks=True, lstrip_blocks=True
    )
    made.globals = {name: made.globals[name] for name in _GLOBALS}
    return made


def problem(source: str) -> str | None:
    """Say what is wrong with a template before it is ever filled in; None if nothing is."""
    try:
        read(source, environment())
    except NoTemplateError as error:
        return str(error)
    return None


def read(source: str, using: SandboxedEnvironment) -> nodes.Template:
    """Return the template as a tree. Raises NoTemplateError."""
    try:
        tree = using.parse(source)
        for node in tree.find_all(_CHECKED):
            _require_known(node, using)
    except TemplateSyntaxError as error:
        said = (error.message or "not understood").rstrip(".")
        raise NoTemplateError(f"line {error.lineno}: {said}; write Jinja2") from error
    except RecursionError as error:
        raise NoTemplateError("nested too deeply; write it flatter") from error
    except ValueError as error:
        raise NoTemplateError("a number with thousands of digits; write a smaller one") from error
    return tree


def unknown_names(source: str, known: Collection[str]) -> list[str]:
    """Return the names that a template takes from outside and that it is not given, in the order of letters."""
    taken = meta.find_undeclared_variables(environment().parse(source))
    return sorted(taken - {*known, *_GLOBALS, *_OF_JINJA})


def _require_known(node: nodes.Node, using: SandboxedEnvironment) -> None:
    line = f"line {node.lineno}"
    match node:
        case nodes.Filter() if node.name not in using.filters:
            raise NoTemplateError(f"{line}: there is no filter {node.name}; write one of Jinja2's")
        case nodes.Test() if node.name not in using.tests:
            raise NoTemplateError(f"{line}: there is no test {node.name}; write one of Jinja2's")
        case _ if type(node) in _LOADING:
            word = _LOADING[type(node)]
            raise NoTemplateError(f"{line}: {word} finds no other template here; write its text in this one")
