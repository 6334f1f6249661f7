"""Credentials and how hosts are reached: what may be written, and what becomes of it."""

import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from taskwatch.config.configuration import Config, identified
from taskwatch.config.kept import Endpoint
from taskwatch.config.load import load
from taskwatch.config.schema import AgencyCredential, AkskCredential, Offset, PasswordCredential
from taskwatch.notifiers.registry import kinds
from taskwatch.secret import Secret
from taskwatch.tls import TlsUnusableError, Trust, open_context
from tests.fakes.config_files import CREDENTIALS, PROJECTS, loaded, refused

PASSWORD = "{type: password, auth_url: %s, username: u, user_domain_name: d, password: {env: P}}"
IAM = PASSWORD % "'https://iam.example/v3'"
NAMED = "projects: [{name: prod, endpoint: https://gauss.example, project: eu-de_prod}]\n"
AGENCY = "{type: agency, via: %s, domain_name: d, agency_name: a}"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://iam.example/v3", "https://iam.example/v3"),
        ("https://iam.example/v3/", "https://iam.example/v3"),
        ("https://IAM.example:443/v3", "https://iam.example/v3"),
        ("https://iam.example", "https://iam.example/v3"),
        ("https://iam.example/", "https://iam.example/v3"),
        ("https://iam.example:8443/identity/v3", "https://iam.example:8443/identity/v3"),
    ],
)
def test_a_login_service_is_found_however_its_url_is_written(tmp_path: Path, written: str, read: str) -> None:
    config = loaded(tmp_path, f"credentials: {{otc: {PASSWORD % repr(written)}}}\n{PROJECTS}")
    otc = config.credentials["otc"]
    assert isinstance(otc, PasswordCredential)
    assert str(otc.auth_url) == read


@pytest.mark.parametrize(
    "written", ["https://iam/v3/auth/tokens", "https://iam/v2", "https://u:p@iam/v3", "https://iam/v3?x"]
)
def test_what_is_no_login_service_is_told_with_what_to_write(tmp_path: Path, written: str) -> None:
    told = refused(tmp_path, f"credentials: {{otc: {PASSWORD % repr(written)}}}\n{PROJECTS}")
    assert told == [
        (
            "taskwatch.yaml:1:37: credentials.otc.auth_url: not the URL of a login service; "
            "write https://HOST/v3, the rest is added"
        )
    ]


def test_both_keys_and_the_token_of_a_signing_credential_are_secrets(tmp_path: Path) -> None:
    text = "credentials: {otc: {type: aksk, access_key: ak-canary, secret_key: sk-canary, security_token: st-canary}}\n"
    config = loaded(tmp_path, text + PROJECTS)
    assert isinstance(config.credentials["otc"], AkskCredential)
    assert "canary" not in f"{config!r} {config.warnings}"
    assert [".".join(map(str, placed.path)) for placed in config.secrets] == [
        "credentials.otc.access_key",
        "credentials.otc.secret_key",
        "credentials.otc.security_token",
    ]


def test_an_agency_has_the_login_service_of_the_credential_that_assumes_it(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        f"credentials: {{main: {IAM}, other: {AGENCY % 'main'}}}\ndefaults: {{credential: other}}\n{PROJECTS}",
    )
    other = config.credentials["other"]
    assert isinstance(other, AgencyCredential)
    assert other.auth_url == Endpoint(scheme="https", host="iam.example", path="/v3")


@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        ("b: " + AGENCY % "a", "credentials.b.via: unknown credential; known here: b"),
        (
            "b: " + AGENCY % "b",
            "credentials.b.via: itself; write a credential of type password or token",
        ),
        (
            "a: {type: none}, b: " + AGENCY % "a",
            (
                "credentials.b.via: not one that can assume an agency; "
                "write a credential of type password or token"
            ),
        ),
        (
            f"a: {IAM}, b: {AGENCY % 'a'}, c: {AGENCY % 'b'}",
            (
                "credentials.c.via: not one that can assume an agency; "
                "write a credential of type password or token"
            ),
        ),
        (
            "a: {type: token, token: {env: T}}, b: " + AGENCY % "a",
            "credentials.b.auth_url: missing, for via has none; write auth_url: https://HOST/v3",
        ),
    ],
)
def test_an_agency_is_assumed_by_a_password_or_a_token(tmp_path: Path, credentials: str, told: str) -> None:
    [line] = refused(tmp_path, f"credentials: {{{credentials}}}\ndefaults: {{credential: b}}\n{PROJECTS}")
    assert line.split(": ", 1)[1] == told


def test_a_project_is_given_by_its_id_or_by_its_name_and_by_one_of_them(tmp_path: Path) -> None:
    both = NAMED.replace("project:", "project_id: abc, project:")
    assert refused(tmp_path, f"credentials: {{otc: {IAM}}}\n{both}") == [
        "taskwatch.yaml:2:75: projects[0].project: beside project_id; keep one of the two"
    ]
    neither = NAMED.replace(", project: eu-de_prod", "")
    assert refused(tmp_path, f"credentials: {{otc: {IAM}}}\n{neither}") == [
        (
            "taskwatch.yaml:2:12: projects[0].project_id: missing; "
            "write project_id: 0611f1bd8b00d5d32f17c017f15b599f, or project: eu-de_prod"
        )
    ]


@pytest.mark.parametrize(
    ("credential", "told"),
    [
        ("{type: none}", "otc logs in nowhere and cannot ask for the id; write project_id"),
        (
            "{type: token, token: {env: T}}",
            "otc cannot ask for the id; write auth_url: https://HOST/v3 there, or project_id here",
        ),
    ],
)
def test_a_name_needs_a_login_that_can_ask_for_the_id(tmp_path: Path, credential: str, told: str) -> None:
    text = f"credentials: {{otc: {credential}}}\n{NAMED}"
    assert refused(tmp_path, text) == [f"taskwatch.yaml:2:58: projects[0].project: {told}"]


def _named(directory: Path, *more: str) -> Config:
    entries = "".join(f"- {{{entry}}}\n" for entry in ("name: prod, project: eu-de_prod", *more))
    return loaded(
        directory,
        f"credentials: {{otc: {IAM}}}\ndefaults: {{endpoint: 'https://h', interval: 7s}}\nprojects:\n{entries}",
    )


def test_a_project_given_by_name_is_watched_as_it_is_configured_once_its_id_is_known(tmp_path: Path) -> None:
    config = _named(tmp_path)
    assert config.projects == ()
    [named] = config.named
    complete, problems = identified(config, {named.asked: "0611f1"})
    assert (complete.named, problems) == ((), ())
    assert (
        complete.projects
        == loaded(
            tmp_path,
            f"credentials: {{otc: {IAM}}}\ndefaults: {{endpoint: 'https://h', interval: 7s}}\n"
            "projects: [{name: prod, project_id: 0611f1}]",
        ).projects
    )


def test_a_project_whose_id_nobody_knows_yet_stays_named(tmp_path: Path) -> None:
    config = _named(tmp_path, "name: dev, project: eu-de_dev")
    complete, problems = identified(config, {("otc", "eu-de_prod"): "a"})
    assert [one.name for one in complete.projects] == ["prod"]
    assert [one.name for one in complete.named] == ["dev"]
    assert problems == ()


def test_two_entries_that_turn_out_to_be_one_project_are_told_and_watched_once(tmp_path: Path) -> None:
    config = _named(tmp_path, "name: same, project_id: a")
    complete, problems = identified(config, {("otc", "eu-de_prod"): "a"})
    assert [one.name for one in complete.projects] == ["same"]
    assert complete.named == ()
    assert problems == ("project prod is not watched: eu-de_prod is the project of same; keep one",)


def test_an_id_that_no_path_can_hold_is_told(tmp_path: Path) -> None:
    complete, problems = identified(_named(tmp_path), {("otc", "eu-de_prod"): "../../etc"})
    assert (complete.projects, complete.named) == ((), ())
    assert problems == ("project prod: what the login service gives as its id is none; write project_id",)


def test_the_same_name_for_the_same_login_at_one_endpoint_is_the_same_project(tmp_path: Path) -> None:
    text = NAMED.replace("}]", "}, {name: twin, endpoint: 'https://gauss.example', project: eu-de_prod}]")
    assert refused(tmp_path, f"credentials: {{otc: {IAM}}}\n{text}") == [
        (
            "taskwatch.yaml:2:80: projects[1]: the same endpoint and project as projects[0] in line 2; "
            "keep one of the two"
        )
    ]


def test_how_a_project_is_reached_and_read_is_what_the_file_says(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        CREDENTIALS + "defaults: {proxy: 'http://proxy:3128', offset: page1, full_poll: 1h}\n"
        "projects:\n"
        "- {name: a, endpoint: 'https://h', project_id: a, tls: {ca: sub/ca.pem, cert: c.pem}}\n"
        "- {name: b, endpoint: 'https://h', project_id: b, proxy: off, tls: {verify: no}}\n",
    )
    a, b = config.projects
    assert (a.offset, a.full_poll) == (Offset.PAGE1, 3600)
    assert a.proxy is not None
    assert a.proxy.reveal() == "http://proxy:3128"
    assert a.tls == Trust(ca=tmp_path / "sub/ca.pem", cert=tmp_path / "c.pem")
    assert (b.proxy, b.tls) == (None, Trust(verify=False))


def test_without_a_word_the_system_is_trusted_and_no_proxy_is_asked(tmp_path: Path) -> None:
    [watched] = loaded(tmp_path, CREDENTIALS + PROJECTS).projects
    assert (watched.tls, watched.proxy, watched.offset, watched.full_poll) == (
        Trust(),
        None,
        Offset.AUTO,
        900,
    )


def test_a_password_in_the_url_of_a_proxy_is_shown_nowhere(tmp_path: Path) -> None:
    config = loaded(tmp_path, CREDENTIALS + PROJECTS + "defaults: {proxy: 'http://u:canary@proxy:3128'}")
    assert "canary" not in f"{config!r}"
    assert isinstance(config.projects[0].proxy, Secret)
    assert "canary" not in "".join(
        refused(tmp_path, CREDENTIALS + PROJECTS + "defaults: {proxy: 'ftp://u:canary@proxy:3128'}")
    )


def test_a_password_for_a_proxy_that_stands_in_the_file_is_warned_of(tmp_path: Path) -> None:
    text = CREDENTIALS + PROJECTS + "defaults: {proxy: %s}"
    [line] = loaded(tmp_path, text % "'http://u:canary@proxy:3128'").warnings
    assert "defaults.proxy: the secret itself stands in this file" in line
    assert loaded(tmp_path, text % "'http://proxy:3128'").warnings == ()
    assert loaded(tmp_path, text % "{env: PROXY}").warnings == ()


def test_verification_that_is_off_at_a_receiver_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "taskwatch.yaml").write_text(
        CREDENTIALS
        + PROJECTS
        + "receivers: [{name: a, type: webhook, url: 'https://h', tls: {verify: false}}]"
    )
    [line] = load(tmp_path / "taskwatch.yaml", kinds()).warnings
    assert "receivers[0].tls.verify: the certificate is not verified for this receiver: " in line


def test_verification_that_is_off_is_warned_of_with_the_names_of_the_projects(tmp_path: Path) -> None:
    projects = "".join(f"- {{name: p{n}, project_id: p{n}}}\n" for n in range(7))
    text = f"{CREDENTIALS}defaults: {{endpoint: 'https://h', tls: {{verify: false}}}}\nprojects:\n{projects}"
    assert [line.replace(f"{tmp_path}/", "") for line in loaded(tmp_path, text).warnings] == [
        (
            "taskwatch.yaml:2:41: defaults.tls.verify: the certificate is not verified for p0, p1, p2, p3, p4 and 2 more: "
            "anybody on the way can read what is sent and answer; write true, and ca: FILE for a CA of your own"
        )
    ]


def test_a_login_in_clear_is_warned_of_unless_it_stays_on_this_machine(tmp_path: Path) -> None:
    clear = f"credentials: {{otc: {PASSWORD % repr('http://iam.example/v3')}}}\n{PROJECTS}"
    assert [line.replace(f"{tmp_path}/", "") for line in loaded(tmp_path, clear).warnings] == [
        (
            "taskwatch.yaml:1:37: credentials.otc.auth_url: the login crosses the network in clear; "
            "write https://"
        )
    ]
    assert loaded(tmp_path, clear.replace("iam.example", "127.0.0.1:35357")).warnings == ()


def test_signed_requests_in_clear_are_warned_of(tmp_path: Path) -> None:
    text = "credentials: {otc: {type: aksk, access_key: {env: A}, secret_key: {env: S}}}\n"
    [line] = loaded(tmp_path, text + PROJECTS.replace("https:", "http:")).warnings
    assert line.endswith(
        "projects[0].endpoint: signed requests, which can be repeated for 15 minutes, cross the network in clear; "
        "write https://"
    )


# --- certificates


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody may enter; pytest's own are closed."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _pair(directory: Path, authority: trustme.CA) -> None:
    pair = authority.issue_cert("client@example.com")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    pair.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    pair.private_key_pem.write_to_path(directory / "key.pem")
    (directory / "key.pem").chmod(0o600)


TLS = CREDENTIALS + PROJECTS + "defaults: {tls: {ca: ca.pem, cert: cert.pem, key: key.pem}}"


def test_certificates_that_can_be_used_are_no_problem(shared: Path, authority: trustme.CA) -> None:
    _pair(shared, authority)
    inspection = loaded(shared, TLS).inspect()
    assert (inspection.exposed, inspection.unreadable) == ((), ())


def test_a_key_that_everybody_can_read_is_refused(shared: Path, authority: trustme.CA) -> None:
    _pair(shared, authority)
    (shared / "key.pem").chmod(0o644)
    [line] = loaded(shared, TLS).inspect().exposed
    assert line.replace(f"{shared}/", "") == (
        "taskwatch.yaml:3:46: defaults.tls.key: everybody on this machine can read key.pem; "
        "chmod 600 it, or 640 with a group that the daemon has"
    )


def test_a_key_in_the_file_of_its_certificate_must_be_closed_too(shared: Path, authority: trustme.CA) -> None:
    authority.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(
        shared / "both.pem"
    )
    (shared / "both.pem").chmod(0o644)
    [line] = loaded(shared, CREDENTIALS + PROJECTS + "defaults: {tls: {cert: both.pem}}").inspect().exposed
    assert "defaults.tls.cert: everybody on this machine can read" in line


def _problem(directory: Path) -> str:
    [line] = loaded(directory, TLS).inspect().unreadable
    return line.replace(f"{directory}/", "").removeprefix("taskwatch.yaml:3:12: defaults.tls: ")


def test_check_names_the_file_of_a_certificate_that_cannot_be_used(
    shared: Path, authority: trustme.CA
) -> None:
    _pair(shared, authority)
    (shared / "ca.pem").write_text("no certificate")
    assert _problem(shared) == "ca.pem holds no certificate of a CA; write it there in PEM format"
    _pair(shared, authority)
    (shared / "key.pem").unlink()
    assert _problem(shared) == (
        "cannot read key.pem: No such file or directory; write it there, or name another"
    )
    _pair(shared, authority)
    other = trustme.CA().issue_cert("x@example.com")
    other.private_key_pem.write_to_path(shared / "key.pem")
    assert _problem(shared) == "the key in key.pem is not that of the certificate in cert.pem; write the pair"


def test_a_key_with_a_password_is_told_and_nobody_is_asked_for_it(
    shared: Path, authority: trustme.CA
) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  (for this test alone)

    _pair(shared, authority)
    key = serialization.load_pem_private_key((shared / "key.pem").read_bytes(), None)
    (shared / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
    )
    assert _problem(shared) == (
        "the key in key.pem is encrypted; write it without a password, readable for the daemon alone"
    )


def test_an_own_ca_is_trusted_instead_of_the_systems(tmp_path: Path, authority: trustme.CA) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = open_context(Trust(ca=tmp_path / "ca.pem"))
    assert context.cert_store_stats()["x509_ca"] == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_pipe_in_the_place_of_a_certificate_is_not_waited_for(tmp_path: Path) -> None:
    import os  # noqa: PLC0415  (for this test alone)

    os.mkfifo(tmp_path / "ca.pem")
    with pytest.raises(TlsUnusableError, match="not a regular file"):
        open_context(Trust(ca=tmp_path / "ca.pem"))
