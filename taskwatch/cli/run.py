"""`taskwatch run`: the daemon, in the foreground."""

from pathlib import Path

import click

from taskwatch.cli.options import config_option, loaded


@click.command(epilog="Example: taskwatch run -c /etc/taskwatch/taskwatch.yaml")
@config_option
@click.option("--wait", is_flag=True, help="Wait for a store that another daemon holds, instead of exit 75.")
def run(config: Path | None, wait: bool) -> None:
    """Watch: poll, record, deliver, until SIGTERM or SIGINT."""
    import asyncio
    import signal

    # Held back until there is a loop to take it: it must not end a daemon that starts.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

    from taskwatch import telemetry
    from taskwatch.app import require_secret, watch

    configuration = loaded(config)
    require_secret(configuration)
    telemetry.configure(format_=configuration.log.format, level=configuration.log.level)
    log = telemetry.logger()
    log.info("configuration_read", path=str(configuration.path.resolve()), files=len(configuration.files))
    asyncio.run(watch(configuration, wait=wait))
