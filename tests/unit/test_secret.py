"""Secrets: where they are kept is shown, what they are is not."""

import os
import pickle
import traceback
from pathlib import Path

import pytest

from taskwatch.errors import SecretUnreadableError
from taskwatch.secret import MAX_SECRET_BYTES, Kept, Secret

CANARY = "canary-s3cret"


def test_a_secret_is_shown_as_its_place_and_never_as_itself(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(CANARY)
    kept = Secret(Kept.FILE, str(file))
    kept.reveal()

    assert str(Secret.text(CANARY)) == repr(Secret.text(CANARY)) == "Secret(text)"
    assert f"{kept} {kept!r} {[kept]}" == " ".join([f"Secret(file:{file})"] * 2 + [f"[Secret(file:{file})]"])


def test_a_file_is_read_without_the_line_end_and_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    secret = Secret(Kept.FILE, str(file))
    assert secret.reveal() == "first"

    file.write_text("other\r\n")
    os.utime(file, ns=(1, 1))
    assert secret.reveal() == "other"

    fresh = tmp_path / "fresh"
    fresh.write_text("third")
    os.utime(fresh, ns=(1, 1))
    fresh.replace(file)  # as tools write that write safely: another file under the same name
    assert secret.reveal() == "third"


def test_a_file_that_came_back_is_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    secret = Secret(Kept.FILE, str(file))
    secret.reveal()
    file.unlink()
    with pytest.raises(SecretUnreadableError):
        secret.reveal()

    file.write_text("again")
    assert secret.reveal() == "again"


def test_the_environment_and_credentials_of_systemd_are_read_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hook").write_text("from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("HOOK_TOKEN", " from the environment ")

    assert Secret(Kept.CREDENTIAL, "hook").reveal() == "from systemd"
    assert Secret(Kept.ENV, "HOOK_TOKEN").reveal() == "from the environment"
    monkeypatch.setenv("HOOK_TOKEN", "another")
    assert Secret(Kept.ENV, "HOOK_TOKEN").reveal() == "another"


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe" + CANARY.encode(), CANARY.encode() * 10_000])
def test_a_file_that_holds_no_secret_is_an_error_that_does_not_show_it(
    content: bytes, tmp_path: Path
) -> None:
    assert len(CANARY) * 10_000 > MAX_SECRET_BYTES
    file = tmp_path / "token"
    file.write_bytes(content)

    with pytest.raises(SecretUnreadableError) as raised:
        Secret(Kept.FILE, str(file)).reveal()

    assert str(file) in str(raised.value)
    assert CANARY not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("kept", [Kept.FILE, Kept.ENV, Kept.CREDENTIAL])
def test_what_cannot_be_read_names_its_place(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("NOBODY_SET_THIS", raising=False)
    where = {Kept.FILE: str(tmp_path / "none"), Kept.ENV: "NOBODY_SET_THIS", Kept.CREDENTIAL: "hook"}[kept]

    with pytest.raises(SecretUnreadableError, match=where):
        Secret(kept, where).reveal()


def test_secrets_are_equal_by_place_and_usable_as_keys() -> None:
    assert Secret(Kept.ENV, "A") == Secret(Kept.ENV, "A")
    assert len({Secret(Kept.ENV, "A"), Secret(Kept.ENV, "A"), Secret(Kept.FILE, "A"), Secret.text("A")}) == 3
    assert Secret.text("A") != "A"


def test_a_directory_where_a_file_should_be_is_an_error_and_no_crash(tmp_path: Path) -> None:
    with pytest.raises(SecretUnreadableError, match="Is a directory"):
        Secret(Kept.FILE, str(tmp_path)).reveal()


def test_a_secret_has_no_attributes_that_a_dump_would_print() -> None:
    assert not hasattr(Secret.text(CANARY), "__dict__")
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
        pickle.dumps(Secret.text(CANARY), protocol=0)
