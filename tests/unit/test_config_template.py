"""Templates as the configuration has them: text or a file, read and checked when it is."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are no dependency of ours
import pytest
from pydantic import ValidationError

from taskwatch.config.section import Section
from taskwatch.config.template import LetterTemplate, LetterTemplates, Template, TemplateText


class Hook(Section):
    template: TemplateText | None = None


class Mail(Section):
    template: LetterTemplates = None


def _hook(directory: Path, template: object) -> Template | None:
    return Hook.model_validate({"template": template}, context=directory).template


def _mail(directory: Path, template: object) -> LetterTemplate | None:
    return Mail.model_validate({"template": template}, context=directory).template


def _refused(section: type[Section], directory: Path, template: object) -> list[tuple[str, str]]:
    """Return where and what is told of it, without the directory."""
    with pytest.raises(ValidationError) as raised:
        section.model_validate({"template": template}, context=directory)
    return [
        (".".join(map(str, line["loc"])), line["msg"].replace(f"{directory}/", ""))
        for line in raised.value.errors()
    ]


def test_a_template_is_the_text_itself(tmp_path: Path) -> None:
    assert _hook(tmp_path, "{{ task.name }}") == Template("{{ task.name }}", "the configuration")


def test_a_template_may_stand_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "mail.j2"
    file.write_text("\ufeffä {{ a }}\n", "utf-8")
    assert _hook(tmp_path, {"file": "mail.j2"}) == Template("ä {{ a }}\n", str(file))


def test_a_file_that_says_something_else_is_another_template(tmp_path: Path) -> None:
    file = tmp_path / "mail.j2"
    file.write_text("one")
    before = Mail.model_validate({"template": {"file": "mail.j2"}}, context=tmp_path)
    assert Mail.model_validate({"template": {"file": "mail.j2"}}, context=tmp_path) == before
    file.write_text("two")
    assert Mail.model_validate({"template": {"file": "mail.j2"}}, context=tmp_path) != before


@pytest.mark.parametrize("off", ["off", "", "~", "null"])
def test_off_is_no_template(tmp_path: Path, off: str) -> None:
    assert _hook(tmp_path, off) is None
    assert _mail(tmp_path, off) is None
    assert _mail(tmp_path, {"subject": off, "text": "a"}) == LetterTemplate(
        text=Template("a", "the configuration")
    )


def test_no_template_is_none() -> None:
    assert Hook().template is None
    assert Mail().template is None


def test_what_code_hands_in_stays_as_it_is() -> None:
    template = Template("{{", "a test")
    letter = LetterTemplate(html=template)
    assert Hook(template=template).template is template
    assert Mail(template=letter).template is letter


WAYS = "write the template, or {file: PATH}"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (" \n", f"empty; {WAYS}"),
        ([], f"no template; {WAYS}"),
        ({}, f"no template; {WAYS}"),
        (["a"], f"no template; {WAYS}"),
        ({"text": "a"}, f"no template; {WAYS}"),
        ({"file": "a", "text": "a"}, f"no template; {WAYS}"),
        ({"file": ""}, f"nothing to read; {WAYS}"),
        ({"file": ["a"]}, f"nothing to read; {WAYS}"),
        ({"file": "a\0b"}, f"nothing to read; {WAYS}"),
        ("x" * 65537, "longer than 64 KiB; write less"),
        ("é" * 32769, "longer than 64 KiB; write less"),
        ("a\n{{ b", "line 2: unexpected end of template, expected 'end of print statement'; write Jinja2"),
        ("a\n{{ b c }}", "line 2: expected token 'end of print statement', got 'c'; write Jinja2"),
        ("{% tusk %}", "line 1: Encountered unknown tag 'tusk'; write Jinja2"),
        ("a\n\n{{ b|tusk }}", "line 3: there is no filter tusk; write one of Jinja2's"),
        ("{{ " + "9" * 5000 + " }}", "a number with thousands of digits; write a smaller one"),
        ("{{" + "(" * 20000, "nested too deeply; write it flatter"),
        ("{{ b" + ".c" * 20000 + " }}", "nested too deeply; write it flatter"),
        (
            "{% include 'b' %}",
            "line 1: include finds no other template here; write its text in this one",
        ),
    ],
)
def test_what_is_no_template_is_refused_with_what_to_write(
    tmp_path: Path, template: object, told: str
) -> None:
    assert _refused(Hook, tmp_path, template) == [("template", told)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "mail.j2 is empty; write the template into it"),
        (b" \n", "mail.j2 is empty; write the template into it"),
        (b"x" * 65537, "mail.j2 is larger than 64 KiB; write less"),
        (b"\xff", "mail.j2 is not UTF-8 text; save it as UTF-8"),
        (
            b"a\n{{ b",
            "mail.j2: line 2: unexpected end of template, expected 'end of print statement'; write Jinja2",
        ),
    ],
)
def test_what_is_wrong_in_a_file_names_the_file(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "mail.j2").write_bytes(content)
    assert _refused(Hook, tmp_path, {"file": "mail.j2"}) == [("template", told)]
    assert _refused(Mail, tmp_path, {"file": "mail.j2"}) == [("template", told)]
    assert _refused(Mail, tmp_path, {"html": {"file": "mail.j2"}}) == [("template.html", told)]


def test_a_file_of_64_kib_is_not_too_large(tmp_path: Path) -> None:
    (tmp_path / "mail.j2").write_bytes(b"x" * 65536)
    template = _hook(tmp_path, {"file": "mail.j2"})
    assert template is not None
    assert len(template.source) == 65536


def test_what_is_no_readable_file_is_told_with_the_remedy(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    told = {
        "gone.j2": "cannot read gone.j2: No such file or directory; write the template there, or name another file",
        "loop": "cannot read loop: Too many levels of symbolic links; mend that, or write the template here",
        "pipe": "pipe is not a regular file; write the template into one",
    }
    assert {name: _refused(Hook, tmp_path, {"file": name})[0][1] for name in told} == told


def test_to_check_a_template_computes_nothing(tmp_path: Path) -> None:
    source = "{{ 10**(10**10) }}{% autoescape 10**(10**10) %}{% endautoescape %}{{ 'x'|center(10**10) }}"
    template = _hook(tmp_path, source)
    assert template is not None
    assert template.source == source


def test_one_template_of_a_letter_is_that_of_its_text(tmp_path: Path) -> None:
    (tmp_path / "mail.j2").write_text("b")
    assert _mail(tmp_path, "a") == LetterTemplate(text=Template("a", "the configuration"))
    assert _mail(tmp_path, {"file": "mail.j2"}) == LetterTemplate(
        text=Template("b", str(tmp_path / "mail.j2"))
    )


def test_a_letter_has_a_template_for_each_of_its_parts(tmp_path: Path) -> None:
    (tmp_path / "mail.html").write_text("<b>{{ a }}</b>")
    letter = _mail(tmp_path, {"subject": "{{ a }}", "html": {"file": "mail.html"}})
    assert letter == LetterTemplate(
        subject=Template("{{ a }}", "the configuration"),
        html=Template("<b>{{ a }}</b>", str(tmp_path / "mail.html")),
    )


@pytest.mark.parametrize(
    ("template", "where", "told"),
    [
        ({}, "template", "empty; write subject, text or html"),
        ({"text": "off", "html": ""}, "template", "empty; write subject, text or html"),
        ([], "template", f"no template; {WAYS}"),
        ({"file": "a", "text": "a"}, "template.file", "unknown key; known here: subject, text, html"),
        ({"body": "a"}, "template.body", "unknown key; known here: subject, text, html"),
        ({"subjct": "a"}, "template.subjct", "unknown key; did you mean subject?"),
        ({"subject": "{{"}, "template.subject", "line 1: unexpected 'end of template'; write Jinja2"),
        ({"html": ["a"]}, "template.html", f"no template; {WAYS}"),
        ("{{ a|tusk }}", "template", "line 1: there is no filter tusk; write one of Jinja2's"),
    ],
)
def test_what_is_no_template_of_a_letter_is_told_where_it_stands(
    tmp_path: Path, template: object, where: str, told: str
) -> None:
    assert _refused(Mail, tmp_path, template) == [(where, told)]


TAKEN: list[object] = ["a", "off", None, {"file": "a"}]
LETTERS: list[object] = [
    {"text": "a"},
    {"subject": "off", "html": {"file": "a"}},
    {"text": None, "html": "a"},
]


def test_the_schema_takes_what_is_taken_and_refuses_what_is_refused() -> None:
    def refuses(section: type[Section], template: Any) -> bool:
        schema = jsonschema.Draft202012Validator(section.model_json_schema())
        return not schema.is_valid({"template": template})

    wrong: list[object] = [{}, {"file": "a", "text": "a"}, {"body": "a"}, ["a"], {"file": None}]
    for template in TAKEN:
        assert not refuses(Hook, template), json.dumps(template)
    for template in TAKEN + LETTERS:
        assert not refuses(Mail, template), json.dumps(template)
    for template in wrong + LETTERS:
        assert refuses(Hook, template), json.dumps(template)
    for template in wrong:
        assert refuses(Mail, template), json.dumps(template)
