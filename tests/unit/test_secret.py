"""Secrets: where they are kept is shown, what they are is not."""

import os
import pickle
import tempfile
import traceback
from pathlib import Path

import pytest

from taskwatch.errors import SecretUnreadableError
from taskwatch.secret import MAX_SECRET_BYTES, Kept, Secret, hidden

CANARY = "canary-s3cret"
NOBODY = 65534


def test_a_secret_is_shown_as_its_place_and_never_as_itself(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(CANARY)
    kept = Secret(Kept.FILE, str(file))
    kept.reveal()

    assert str(Secret.text(CANARY)) == repr(Secret.text(CANARY)) == "Secret(text)"
    assert f"{kept} {kept!r} {[kept]}" == " ".join([f"Secret(file:{file})"] * 2 + [f"[Secret(file:{file})]"])


def test_a_file_is_read_without_the_line_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"\xef\xbb\xbffirst\r\n")  # as editors of Windows write it
    assert Secret(Kept.FILE, str(file)).reveal() == "first"


def test_an_edit_that_leaves_size_time_and_inode_as_they_were_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    os.utime(file, ns=(1, 1))
    secret = Secret(Kept.FILE, str(file))
    assert secret.reveal() == "first"

    file.write_text("other")
    os.utime(file, ns=(1, 1))
    assert secret.reveal() == "other"


def test_a_file_that_another_replaced_is_read(tmp_path: Path) -> None:
    file, fresh = tmp_path / "token", tmp_path / "fresh"
    file.write_text("first")
    secret = Secret(Kept.FILE, str(file))
    assert secret.reveal() == "first"

    fresh.write_text("third")
    fresh.replace(file)  # as tools write that write safely
    assert secret.reveal() == "third"


def test_a_link_that_leads_elsewhere_now_is_followed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "token"
    link.symlink_to("one")
    secret = Secret(Kept.FILE, str(link))
    assert secret.reveal() == "one"

    (tmp_path / "swap").symlink_to("two")  # as Kubernetes updates what it mounts
    (tmp_path / "swap").replace(link)
    assert secret.reveal() == "two"


def test_a_secret_that_has_gone_is_not_remembered_and_one_that_came_back_is_read(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty; write the secret into it"),
        (b"\n \n", "is empty; write the secret into it"),
        (b"\xff\xfe" + CANARY.encode(), "is not UTF-8 text; write the secret as text"),
        (
            CANARY.encode() * 10_000,
            f"is larger than {MAX_SECRET_BYTES} bytes: not a secret; write the secret alone into it",
        ),
    ],
)
def test_a_file_that_holds_no_secret_is_an_error_that_does_not_show_it(
    content: bytes, told: str, tmp_path: Path
) -> None:
    assert len(CANARY) * 10_000 > MAX_SECRET_BYTES
    file = tmp_path / "token"
    file.write_bytes(content)

    with pytest.raises(SecretUnreadableError) as raised:
        Secret(Kept.FILE, str(file)).reveal()

    assert str(raised.value) == f"{file} {told}"
    assert CANARY not in "".join(traceback.format_exception(raised.value))


def _refused(file: Path) -> str:
    with pytest.raises(SecretUnreadableError) as raised:
        Secret(Kept.FILE, str(file)).reveal()
    return str(raised.value)


def test_a_file_that_cannot_be_read_is_told_with_the_remedy(tmp_path: Path) -> None:
    assert _refused(tmp_path / "none") == (
        f"cannot read {tmp_path}/none: No such file or directory; "
        "write it there, readable for the daemon's user alone"
    )
    assert _refused(tmp_path) == f"cannot read {tmp_path}: Is a directory; name a file in it"
    (tmp_path / "loop").symlink_to("loop")
    assert _refused(tmp_path / "loop").endswith(
        "Too many levels of symbolic links; mend that, or keep the secret elsewhere"
    )


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert _refused(tmp_path / "pipe") == (
        f"{tmp_path}/pipe is not a regular file; write the secret into one"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_file_of_another_user_is_told_with_the_id_of_the_one_who_asks() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        file = Path(directory) / "token"
        file.write_text(CANARY)
        file.chmod(0o600)
        os.seteuid(NOBODY)
        try:
            assert _refused(file) == f"cannot read {file}: Permission denied; let user id {NOBODY} read it"
        finally:
            os.seteuid(0)


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


def test_a_secret_has_no_attributes_that_a_dump_would_print() -> None:
    assert not hasattr(Secret.text(CANARY), "__dict__")
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
        pickle.dumps(Secret.text(CANARY), protocol=0)


# What others say


TOKEN = 'MIIF/ab+cd&"=='


@pytest.mark.parametrize(
    "said",
    [
        'got MIIF/ab+cd&"==',
        'got "MIIF/ab+cd&\\"=="',
        'got "MIIF\\/ab+cd&\\"=="',
        "got MIIF%2Fab%2Bcd%26%22%3D%3D",
        "got MIIF%2fab%2bcd%26%22%3d%3d",
        "got MIIF/ab+cd&amp;&quot;==",
        "got MIIF/ab+cd",  # the connection broke
        "got MIIF%2Fab%2",
    ],
)
def test_a_secret_is_hidden_however_it_is_repeated(said: str) -> None:
    shown = hidden(said, [TOKEN], shortest=6)

    assert shown.replace('"', "") == "got [secret]"


def test_the_longer_of_two_secrets_is_hidden_whole() -> None:
    assert hidden("secret-and-more secret-and", ["secret-and", "secret-and-more"], shortest=6) == (
        "[secret] [secret]"
    )


@pytest.mark.parametrize("said", ["", "a token of 3 parts", "MIIF", "of old: MIIF/ab? no"])
def test_what_is_no_secret_is_said_as_it_is(said: str) -> None:
    assert hidden(said, [TOKEN, "old"], shortest=6) == said
