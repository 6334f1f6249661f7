import pytest
import re2

from taskwatch.core.matchers import ATTRIBUTES, MatcherError, parse_matcher
from taskwatch.core.route import Route, route

FAILURE = {
    "type": "taskwatch.task.failed",
    "severity": "critical",
    "project": "prod",
    "task": "BackupSnapshotGaussDBV5InInstance",
    "fail_reason": "disk full\nsecond line",
    "label_env": "prod",
}


def when(
    *matchers: str, to: tuple[str, ...] = (), continues: bool = False, routes: tuple[Route, ...] = ()
) -> Route:
    return Route(
        receivers=to, matchers=tuple(map(parse_matcher, matchers)), continues=continues, routes=routes
    )


def told(root: Route, **attributes: str) -> list[tuple[str, str]]:
    return [(hop.receiver, hop.path) for hop in route(root, attributes)]


class TestMatchers:
    @pytest.mark.parametrize(
        "text",
        [
            'severity = "critical"',
            "severity=critical",
            '  severity  =  "critical"  ',
            'severity != "warning"',
            'severity =~ "crit.*"',
            'severity =~ "warning|critical"',
            'severity !~ "info|warning"',
            'task =~ "Backup.*"',
            'label_env = "prod"',
            'type = "task.failed"',
            'type = "taskwatch.task.failed"',
            'type =~ "task[.].*"',
            'type =~ "taskwatch[.]task[.].*"',
            'type =~ ".*"',
            'type != "task.completed"',
            'instance_name = ""',
            'label_team = ""',
            'label_team =~ "|db"',
            'fail_reason =~ "disk.*line"',
        ],
    )
    def test_a_condition_that_is_met(self, text: str) -> None:
        assert parse_matcher(text).matches(FAILURE)

    @pytest.mark.parametrize(
        "text",
        [
            'severity = "Critical"',
            'severity =~ "crit"',  # anchored at the end
            'severity =~ "ritical"',  # and at the beginning
            'severity =~ "xcritical|critica"',
            'severity != "critical"',
            'severity !~ ".*"',
            'type != "task.failed"',
            'type != "taskwatch.task.failed"',
            'type !~ "task[.]failed"',
            'label_team != ""',
            'instance_name =~ ".+"',
            'project = "taskwatch.prod"',
        ],
    )
    def test_a_condition_that_is_not_met(self, text: str) -> None:
        assert not parse_matcher(text).matches(FAILURE)

    def test_only_the_type_has_a_prefix_that_may_be_left_out(self) -> None:
        assert not parse_matcher('project = "prod"').matches({"project": "taskwatch.prod"})

    def test_quotes_and_backslashes_are_escaped_and_nothing_else(self) -> None:
        assert parse_matcher(r'fail_reason = "say \"no\" \\ "').matches({"fail_reason": 'say "no" \\ '})
        assert parse_matcher(r'fail_reason =~ "\d+ errors"').matches({"fail_reason": "12 errors"})

    @pytest.mark.parametrize("name", [*ATTRIBUTES, "label_anything"])
    def test_every_attribute_of_the_contract_can_be_named(self, name: str) -> None:
        assert parse_matcher(f'{name} = "x"').matches({name: "x"})

    @pytest.mark.parametrize(
        "text",
        ["", "severity", "severity ==", "severity ==critical", 'severity = "a', "= x", 'a b = "c"', "x > 1"],
    )
    def test_what_is_no_matcher_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(MatcherError, match='write for example severity = "critical"'):
            parse_matcher(text)

    def test_an_unknown_attribute_is_refused_with_the_known_ones(self) -> None:
        with pytest.raises(MatcherError, match=r"'sevrity' .* sees type, severity, .* and label_NAME"):
            parse_matcher('sevrity = "critical"')

    @pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[z-a]", r"(?=look)", r"(a)\\1", "((a{1000}){1000})"])
    def test_a_pattern_that_re2_refuses_is_named(self, pattern: str) -> None:
        with pytest.raises(MatcherError, match="is not an RE2 pattern"):
            parse_matcher(f'task =~ "{pattern}"')

    @pytest.mark.parametrize(
        ("pattern", "why"), [("(", r"missing \): \("), ("a{2,1}", r"invalid repetition size: \{2,1\}")]
    )
    def test_what_re2_says_of_a_pattern_is_quoted_and_printed_nowhere(
        self, pattern: str, why: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(MatcherError, match=rf"is not an RE2 pattern \({why}\); write one, or use ="):
            parse_matcher(f'task =~ "{pattern}"')
        assert capfd.readouterr() == ("", "")

    def test_the_same_condition_read_twice_is_equal(self) -> None:
        # A reload compares routes: what is equal did not change.
        before = parse_matcher('task =~ "Backup.*"')
        re2.purge()  # it keeps what it compiled, for a while
        assert parse_matcher('task =~ "Backup.*"') == before

    def test_a_matcher_prints_as_it_is_written(self) -> None:
        assert str(parse_matcher('severity=~"a|b"')) == 'severity =~ "a|b"'

    @pytest.mark.parametrize("pattern", ["(a+)+", "(a|aa)+", "(.*a){20}", "(a*)*b"])
    def test_no_pattern_takes_more_than_linear_time(self, pattern: str) -> None:
        # Backtracking would need more than the age of the universe; pytest's time-out is the judge.
        matcher = parse_matcher(f'task =~ "{pattern}"')
        assert not matcher.matches({"task": "a" * 50_000 + "!"})


class TestRoutes:
    CONTRACT = Route(
        receivers=("journal",),
        routes=(
            when('type =~ ".*"', to=("journal",), continues=True),
            when('severity = "critical"', to=("pipeline", "am")),
            when('type =~ "project.degraded|receiver.down"', to=("am",)),
        ),
    )

    def test_the_example_of_the_contract(self) -> None:
        assert told(self.CONTRACT, type="taskwatch.task.failed", severity="critical") == [
            ("journal", "route.routes[0]"),
            ("pipeline", "route.routes[1]"),
            ("am", "route.routes[1]"),
        ]
        assert told(self.CONTRACT, type="taskwatch.task.started", severity="info") == [
            ("journal", "route.routes[0]")
        ]
        assert told(self.CONTRACT, type="taskwatch.project.degraded", severity="warning") == [
            ("journal", "route.routes[0]"),
            ("am", "route.routes[2]"),
        ]

    def test_what_no_child_takes_stays_with_the_parent(self) -> None:
        root = Route(receivers=("all",), routes=(when('severity = "critical"', to=("pager",)),))
        assert told(root, severity="info") == [("all", "route")]

    def test_the_first_child_that_matches_takes_the_event(self) -> None:
        root = Route(
            receivers=("all",),
            routes=(when('project = "a"', to=("one",)), when('severity = "info"', to=("two",))),
        )
        assert told(root, project="a", severity="info") == [("one", "route.routes[0]")]

    def test_a_route_that_does_not_say_continue_does_not(self) -> None:
        children = (Route(receivers=("one",)), Route(receivers=("two",)))
        assert told(Route(receivers=("all",), routes=children)) == [("one", "route.routes[0]")]

    def test_every_matcher_of_a_route_must_be_met(self) -> None:
        root = Route(receivers=("all",), routes=(when('project = "a"', 'severity = "info"', to=("one",)),))
        assert told(root, project="a", severity="critical") == [("all", "route")]

    def test_children_of_children_are_asked(self) -> None:
        inner = when('severity = "critical"', to=("pager",))
        root = Route(receivers=("all",), routes=(when('project = "a"', to=("team",), routes=(inner,)),))
        assert told(root, project="a", severity="critical") == [("pager", "route.routes[0].routes[0]")]
        assert told(root, project="a", severity="info") == [("team", "route.routes[0]")]

    def test_continue_within_a_child_does_not_leave_it(self) -> None:
        inner = when('severity = "critical"', to=("pager",), continues=True)
        root = Route(
            receivers=("all",),
            routes=(when('project = "a"', to=("team",), routes=(inner,)), when(to=("late",))),
        )
        assert told(root, project="a", severity="critical") == [("pager", "route.routes[0].routes[0]")]

    def test_each_receiver_gets_one_copy_by_the_route_that_named_it_first(self) -> None:
        root = Route(
            receivers=(),
            routes=(
                when(to=("a", "b"), continues=True),
                when(to=("b", "c"), continues=True),
                when(to=("a", "a")),
            ),
        )
        assert told(root) == [("a", "route.routes[0]"), ("b", "route.routes[0]"), ("c", "route.routes[1]")]

    def test_a_route_to_nobody_tells_nobody(self) -> None:
        assert told(Route(receivers=("all",), routes=(when('project = "a"'),)), project="a") == []
