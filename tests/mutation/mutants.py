"""Small mistakes, one at a time: what somebody might have written instead.

Invariants:
- A mutant differs from the module in one place, and compiles. The same source gives the same mutants, in
  the order of its lines.
- Texts, annotations, decorators, imports and what is said to be unreachable stay as they are: there a
  mistake is a matter of taste, or the type checker's to find.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import ndiff
from typing import Final, TypeVar

T = TypeVar("T")

_UNTOUCHED: Final = frozenset({"annotation", "returns", "decorator_list", "bases"})
_COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
_CALLS: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A module with one mistake in it."""

    line: int  # of the module as it is
    source: str
    difference: tuple[str, ...]  # lines that went, with "- ", and that came, with "+ "


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """A node, and how another is put in its place."""

    node: ast.AST
    line: int
    put: Callable[[ast.AST], None]


def mutants(source: str) -> Iterator[Mutant]:
    """Make every mutant of a module."""
    tree = ast.parse(source)
    right = ast.unparse(tree)
    known = {right}
    for site in sorted(_sites(tree, line=1), key=lambda site: site.line):
        for other in _mistakes(site.node):
            site.put(other)
            wrong = ast.unparse(tree)
            site.put(site.node)
            if wrong not in known:
                known.add(wrong)
                yield Mutant(line=site.line, source=wrong, difference=_difference(right, wrong))


def _difference(right: str, wrong: str) -> tuple[str, ...]:
    lines = ndiff(right.splitlines(), wrong.splitlines())
    return tuple(line[:2] + line[2:].strip() for line in lines if line.startswith(("- ", "+ ")))


def _sites(parent: ast.AST, *, line: int) -> Iterator[_Site]:
    for name, value in ast.iter_fields(parent):
        if name in _UNTOUCHED or (isinstance(parent, ast.ClassDef) and name == "keywords"):
            continue
        if isinstance(value, ast.AST):
            yield from _site(value, line, _setting(parent, name))
        elif isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield from _site(item, line, _setting_item(value, place))


def _site(node: ast.AST, line: int, put: Callable[[ast.AST], None]) -> Iterator[_Site]:
    if _is_unreachable(node):
        return
    line = getattr(node, "lineno", line)
    yield _Site(node=node, line=line, put=put)
    yield from _sites(node, line=line)


def _setting(parent: ast.AST, name: str) -> Callable[[ast.AST], None]:
    return lambda node: setattr(parent, name, node)


def _setting_item(nodes: list[ast.AST], place: int) -> Callable[[ast.AST], None]:
    return lambda node: nodes.__setitem__(place, node)


def _is_unreachable(node: ast.AST) -> bool:
    match node:
        case ast.match_case(body=[ast.Expr(value=ast.Call(func=ast.Name(id="assert_never")))]):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return True
        case _:
            return False


def _mistakes(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.expr():
            yield from _of_operation(node)
            yield from _of_value(node)
        case ast.stmt():
            yield from _of_statement(node)
        case ast.comprehension(ifs=[_, *_]):
            yield ast.comprehension(
                target=node.target, iter=node.iter, ifs=[*map(_not, node.ifs)], is_async=node.is_async
            )
            yield ast.comprehension(target=node.target, iter=node.iter, ifs=[], is_async=node.is_async)
        case ast.match_case(guard=ast.expr() as guard):
            yield ast.match_case(pattern=node.pattern, guard=_not(guard), body=node.body)
        case ast.MatchOr(patterns=patterns):
            for place in range(len(patterns)):
                left = _without(patterns, place)
                yield left[0] if len(left) == 1 else ast.MatchOr(patterns=left)


def _of_operation(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, ops=operators, comparators=others):
            for place, operator in enumerate(operators):
                for wrong in _COMPARISONS[type(operator)]:
                    ops = [*operators[:place], wrong(), *operators[place + 1 :]]
                    yield ast.Compare(left=left, ops=ops, comparators=others)
        case ast.BoolOp(op=operator, values=values):
            yield ast.BoolOp(op=ast.Or() if isinstance(operator, ast.And) else ast.And(), values=values)
            for place in range(len(values)):
                left_over = _without(values, place)
                yield left_over[0] if len(left_over) == 1 else ast.BoolOp(op=operator, values=left_over)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
            yield ast.BinOp(left=left, op=_ARITHMETIC[type(operator)](), right=right)


def _of_value(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(value=not value)
        case ast.Constant(value=int(number) | float(number)):
            yield ast.Constant(value=number + 1)
            yield ast.Constant(value=number - 1)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test=_not(test), body=body, orelse=orelse)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in _CALLS:
            yield ast.Call(func=ast.Name(id=_CALLS[name]), args=args, keywords=keywords)


def _of_statement(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.Expr(value=ast.Constant()):  # a docstring
            return
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Break() | ast.Continue():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value) if not _is_nothing(value):
            yield ast.Return(value=ast.Constant(value=None))
        case ast.If(test=test, body=body, orelse=orelse):
            yield ast.If(test=_not(test), body=body, orelse=orelse)
        case ast.While(test=test, body=body, orelse=orelse):
            yield ast.While(test=_not(test), body=body, orelse=orelse)
        case ast.Match(subject=subject, cases=cases) if len(cases) > 1:
            for place, case in enumerate(cases):
                if not _is_unreachable(case):
                    yield ast.Match(subject=subject, cases=_without(cases, place))


def _is_nothing(value: ast.expr) -> bool:
    """Tell whether None in its place would say the same to whoever asks for the truth of it."""
    return isinstance(value, ast.Constant) and not value.value


def _not(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(op=ast.Not(), operand=test)


def _without(items: list[T], place: int) -> list[T]:
    return items[:place] + items[place + 1 :]
