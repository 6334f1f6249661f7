"""`taskwatch run`: the daemon, in the foreground."""

from pathlib import Path

import click

from taskwatch.cli.options import config_option


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
    from taskwatch.app import kinds, require_secret, warnings_of, watch
    from taskwatch.config.load import find, load

    loaded = load(find(config), kinds())
    require_secret(loaded)
    telemetry.configure(format_=loaded.log.format, level=loaded.log.level)
    log = telemetry.logger()
    log.info("configuration_read", path=str(loaded.path.resolve()), files=len(loaded.files))
    for warning in warnings_of(loaded):
        log.warning("configuration_warning", warning=warning)
    asyncio.run(watch(loaded, wait=wait))
