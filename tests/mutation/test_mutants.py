"""The mistakes that are made on purpose are real ones, and what is said of them is true."""

import ast

import pytest

from tests.mutation.mutants import mutants
from tests.mutation.tree import ROOT
from tests.mutation.trials import TrialError, answering_for, key_of, modules


def mistakes(source: str) -> set[str]:
    """Return the lines that come with the mistakes in this source."""
    return {line for mutant in mutants(source) for line in mutant.difference if line.startswith("+ ")}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("x = a < b", ["x = a <= b", "x = a >= b"]),
        ("x = a <= b < c", ["x = a < b < c", "x = a > b < c", "x = a <= b <= c", "x = a <= b >= c"]),
        ("x = a is not None", ["x = a is None"]),
        ("x = a not in b", ["x = a in b"]),
        ("x = a and b", ["x = a or b", "x = a", "x = b"]),
        ("x = not a", ["x = a"]),
        ("x = -a", ["x = a"]),
        ("x = 7", ["x = 8", "x = 6"]),
        ("x = True", ["x = False"]),
        ("x = a + b", ["x = a - b"]),
        ("x = a if b else c", ["x = a if not b else c"]),
        ("x = max(a, b)", ["x = min(a, b)"]),
        ("x = [a for a in b if c]", ["x = [a for a in b if not c]", "x = [a for a in b]"]),
        ("if a:\n    pass", ["if not a:"]),
        ("def f():\n    return a", ["return None"]),
        ("def f():\n    return False", ["return True"]),
        ("for a in b:\n    break", ["pass"]),
        ("a += b", ["pass"]),
        ("a.b = c", ["pass"]),
        ("match a:\n    case 'b' | 'c':\n        pass", ["case 'c':", "case 'b':"]),
        ("match a:\n    case _ if b:\n        pass", ["case _ if not b:"]),
    ],
)
def test_each_kind_of_mistake_is_made(right: str, wrong: list[str]) -> None:
    assert mistakes(right) == {f"+ {line}" for line in wrong}


@pytest.mark.parametrize(
    "right",
    [
        '"""A docstring."""',
        "import a",
        "x: int | None",
        "@dataclass(frozen=True)\nclass A(B, c=1):\n    pass",
        "def f(a: b[1]) -> c[2]:\n    return None",
        "match a:\n    case _:\n        assert_never(a < b)",
        "x = 'text'",
    ],
)
def test_what_is_no_mistake_of_this_kind_stays(right: str) -> None:
    assert mistakes(right) == set()


@pytest.mark.parametrize("module", modules())
def test_mutants_of_the_core_compile_differ_and_come_in_the_same_order_again(module: str) -> None:
    source = (ROOT / "taskwatch" / "core" / f"{module}.py").read_text()
    made = list(mutants(source))
    assert made == list(mutants(source))
    assert [mutant.line for mutant in made] == sorted(mutant.line for mutant in made)
    sources = {ast.unparse(ast.parse(source)), *(mutant.source for mutant in made)}
    assert len(sources) == len(made) + 1
    for mutant in made:
        compile(mutant.source, module, "exec")


@pytest.mark.parametrize("module", modules())
def test_every_module_of_the_core_has_tests_that_answer_for_it(module: str) -> None:
    assert answering_for(module)


def test_a_module_without_tests_is_refused_with_what_to_write() -> None:
    with pytest.raises(TrialError, match=r"taskwatch/core/luck\.py: write tests/unit/test_core_luck\.py"):
        answering_for("luck")


def test_a_verdict_holds_for_one_mutant_under_the_same_tests() -> None:
    pace, route = answering_for("cadence"), answering_for("route")
    assert key_of("x = 1", pace) == key_of("x = 1", pace)
    assert len({key_of("x = 1", pace), key_of("x = 2", pace), key_of("x = 1", route)}) == 3
