"""What `check` warns of: matchers that nothing can meet, templates that cannot be filled in."""

from pathlib import Path
from typing import Final

import pytest

from taskwatch.config.load import load
from taskwatch.notifiers.registry import kinds

BASE: Final = """\
credentials: {otc: {type: none}}
projects: [{name: prod, endpoint: https://gauss.example, project_id: abc, labels: {team: db}}]
"""


def warned(directory: Path, text: str) -> list[str]:
    file = directory / "taskwatch.yaml"
    file.write_text(BASE + text)
    return [line.replace(f"{directory}/", "") for line in load(file, kinds()).warnings]


def test_a_matcher_of_a_route_that_nothing_can_meet_is_warned_of_where_it_stands(tmp_path: Path) -> None:
    text = """\
route:
  routes:
    - matchers: [task = x, type = task.faild]
      receivers: [log]
      routes:
        - matchers: [label_tem = x]
"""
    assert warned(tmp_path, text) == [
        (
            'taskwatch.yaml:5:28: route.routes[0].matchers[1]: no event to come meets type = "task.faild": '
            "there is no such type; did you mean task.failed?"
        ),
        (
            'taskwatch.yaml:8:22: route.routes[0].routes[0].matchers[0]: no event to come meets label_tem = "x": '
            "no configured project has this label; did you mean team?"
        ),
    ]


def test_a_matcher_of_a_window_is_too(tmp_path: Path) -> None:
    text = "mute: [{name: w, matchers: [severity =~ criticl], weekly: Mon 00:00 - Tue 00:00}]"
    assert warned(tmp_path, text) == [
        (
            'taskwatch.yaml:3:29: mute[0].matchers[0]: no event to come meets severity =~ "criticl": '
            "there is no such severity; did you mean critical?"
        )
    ]


@pytest.mark.parametrize(
    "matcher",
    ["type = taskwatch.task.failed", "type =~ task.*", "severity != criticl", "label_tem !~ x", 'label_tem = \\"\\"', "task = x"],
)  # fmt: skip
def test_what_an_event_may_meet_is_not(matcher: str, tmp_path: Path) -> None:
    assert warned(tmp_path, f'route: {{routes: [{{matchers: ["{matcher}"], receivers: [log]}}]}}') == []


MAIL: Final = "receivers: [{name: mail, type: email, smtp: 'smtps://h', from: a@b.example, to: c@d.example, template: %s}]"


def test_a_template_that_uses_what_it_is_not_given_is_warned_of(tmp_path: Path) -> None:
    assert warned(tmp_path, MAIL % "{subject: '{{ evnt.type }}', text: '{{ event.type }}'}") == [
        (
            "taskwatch.yaml:3:105: receivers[0].template.subject: no template is given 'evnt', so this one cannot be "
            "filled in; did you mean event?"
        )
    ]


def test_a_template_in_a_file_is_too(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("{{ summary }}")
    hook = "receivers: [{name: h, type: webhook, url: 'https://h.example', template: {file: t}}]"
    for text in (MAIL % "{file: t}", hook):
        [line] = warned(tmp_path, text)
        assert "receivers[0].template: no template is given 'summary'" in line


def test_a_template_of_all_that_it_is_given_is_not(tmp_path: Path) -> None:
    source = (
        "{% set n = namespace(x=0) %}{% for e in events %}{{ loop.index }}{{ e.type }}{{ n.x }}{% endfor %}"
        "{{ event }}{{ count }}{{ left_out }}{{ group }}{{ severity }}{{ is_reminder }}{{ at }}{{ range(3) }}{{ dict() }}"
    )
    assert warned(tmp_path, MAIL % f'"{source}"') == []
