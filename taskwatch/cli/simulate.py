"""`taskwatch simulate`: the simulated cloud alone, to try a configuration against."""

import asyncio
import json
import os
import shlex
import signal
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskwatch.errors import TaskwatchError

if TYPE_CHECKING:
    from taskwatch.simulator.server import SimulatedCloud

_SHOWN_PROJECTS = 20
_REGION = "eu-de"
_SIGNED_FOR_SECONDS = 900  # so far apart the clocks of signer and cloud may be


@click.command(epilog="Example: taskwatch simulate --speed 60 --verbose")
@click.option(
    "--listen", default="127.0.0.1:9799", show_default=True, metavar="ADDR", help="Port 0: a free one."
)
@click.option("--seed", default=0, show_default=True, help="The same seed, the same life.")
@click.option("--projects", default=3, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@click.option(
    "--speed",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 10_000, min_open=True),
    help="Simulated seconds per second.",
)
@click.option(
    "--token", default="simulated-token", show_default=True, metavar="TEXT", help="Empty: everybody may read."
)
@click.option(
    "--faults",
    default=0.0,
    type=click.FloatRange(0, 1),
    metavar="PROBABILITY",
    help="How many requests go wrong, in every way.",
)
@click.option(
    "--tasks-per-day", default=40, show_default=True, type=click.IntRange(0, 10_000), help="In each project."
)
@click.option(
    "--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Serve https with this certificate."
)
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="And its key.")
@click.option("--verbose", is_flag=True, help="One line per transition.")
def simulate(
    *,
    listen: str,
    seed: int,
    projects: int,
    speed: float,
    token: str,
    faults: float,
    tasks_per_day: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    verbose: bool,
) -> None:
    """Serve a simulated cloud, to try a configuration against.

    It takes the token, and logins by password, agency and key pair too; it prints one of each.
    """
    from taskwatch.simulator.principals import Accounts
    from taskwatch.simulator.server import SimulatedCloud

    cloud = SimulatedCloud(
        seed=seed,
        projects=projects,
        speed=speed,
        token=token or None,
        accounts=Accounts() if token else None,
        tasks_per_day=tasks_per_day,
        listen=_address(listen),
        ssl_context=_ssl_context(tls_cert, tls_key),
    )
    if faults:
        cloud.faults.add("any", probability=faults)
    asyncio.run(_serve(cloud, listen=listen, speed=speed, verbose=verbose))


def _address(listen: str) -> tuple[str, int]:
    host, separator, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (separator and host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise click.BadParameter(f"{listen!r} is not HOST:PORT, as 127.0.0.1:9799", param_hint="--listen")
    return host, int(port)


def _ssl_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise click.UsageError("--tls-cert and --tls-key go together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise TaskwatchError(
            f"{certificate} and {key} are no certificate and its key: {error.reason}"
        ) from error
    except OSError as error:
        raise TaskwatchError(f"cannot read {certificate} and {key}: {_reason(error)}") from error
    return context


async def _serve(cloud: "SimulatedCloud", *, listen: str, speed: float, verbose: bool) -> None:
    stop = _stop_on_signals()
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(cloud)
        except OSError as error:
            raise TaskwatchError(f"cannot listen on {listen}: {_reason(error)}") from error
        click.echo(_greeting(cloud, speed))
        if verbose:
            await _tell(cloud, stop)
        await stop.wait()


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _tell(cloud: "SimulatedCloud", stop: asyncio.Event) -> None:
    names = {project.project_id: project.name for project in cloud.projects}
    async for happened in cloud.follow(stop):
        reason = f": {happened.fail_reason}" if happened.fail_reason else ""
        click.echo(
            f"{happened.at:%Y-%m-%dT%H:%M:%SZ} {names[happened.project_id]} {happened.name} "
            f"of {happened.instance_name}: {happened.before or 'new'} -> {happened.after}{reason}"
        )


def _greeting(cloud: "SimulatedCloud", speed: float) -> str:
    """Return where it listens (the first line, for programs), then what a person can paste."""
    credential = f"{{type: token, token: {json.dumps(cloud.token)}}}" if cloud.token else "{type: none}"
    projects = "\n".join(
        f'  - {{name: {project.name}, endpoint: "{cloud.url}", project_id: "{project.project_id}"}}'
        for project in cloud.projects[:_SHOWN_PROJECTS]
    )
    if (more := len(cloud.projects) - _SHOWN_PROJECTS) > 0:
        projects += f"\n  # and {more} more: {cloud.url}/_simulator/projects lists them all"
    return f"""simulated cloud listening on {cloud.url}
token: {cloud.token or "none is asked for"}
projects: {len(cloud.projects)}, see {cloud.url}/_simulator/projects

# taskwatch.yaml
credentials:
  simulated: {credential}
projects:
{projects}
receivers:
  - {{name: log, type: log}}
{_logins(cloud, speed) if cloud.has_accounts else ""}
# make a task fail, and watch it being told:
# curl -d '{{"outcome": "Failed", "seconds": 20}}' {cloud.url}/_simulator/tasks
"""


def _logins(cloud: "SimulatedCloud", speed: float) -> str:
    """Return one credential of each other kind, and the environment that OpenStack's clients read."""
    identity, pair = cloud.identity, cloud.identity.keys.permanent
    user, agent, agency = identity.user, identity.agent, identity.agency
    environment = {
        "OS_AUTH_URL": cloud.auth_url,
        "OS_USERNAME": user.name,
        "OS_PASSWORD": identity.password(user),
        "OS_USER_DOMAIN_NAME": user.domain.name,
        "OS_PROJECT_NAME": cloud.projects[0].iam_name,
        "OS_REGION_NAME": _REGION,
    }
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())
    password = f'auth_url: "{cloud.auth_url}", password: "{identity.password(user)}"'
    return f"""
# other credentials for the same projects, instead of the one above:
#   simulated: {{type: password, username: {user.name}, user_domain_name: {user.domain.name}, {password}}}
#   simulated: {{type: aksk, auth_url: "{cloud.auth_url}", access_key: {pair.access}, secret_key: {pair.secret}}}{_speed_note(speed)}
#   agent: {{type: password, username: {agent.name}, user_domain_name: {agent.domain.name}, {password}}}
#   simulated: {{type: agency, via: agent, domain_name: {agency.domain.name}, agency_name: {agency.name}}}
#     (of these two, the projects need the second: credential: simulated)

# for taskwatch init, and other clients of OpenStack
{exports}
"""


def _speed_note(speed: float) -> str:
    """Say how long signatures count when simulated time runs away from the time they are dated by."""
    if speed == 1:
        return ""
    seconds = _SIGNED_FOR_SECONDS / abs(speed - 1)
    return (
        f"\n#     (for {seconds:.0f} s from now: then simulated time has left the dates of signatures behind)"
    )
