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

    from taskwatch import telemetry
    from taskwatch.app import kinds, watch
    from taskwatch.config.inspection import inspect_secrets
    from taskwatch.config.load import find, load
    from taskwatch.errors import ConfigError

    loaded = load(find(config), kinds())
    inspection = inspect_secrets(loaded.secrets)
    if inspection.exposed:
        raise ConfigError(list(inspection.exposed))
    telemetry.configure(format_=loaded.log.format, level=loaded.log.level)
    log = telemetry.logger()
    log.info("configuration_read", path=str(loaded.path.resolve()))
    # A secret that is missing now may be there in a minute: `check` refuses it, the daemon says so and watches on.
    for warning in (*loaded.warnings, *inspection.unreadable):
        log.warning("configuration_warning", warning=warning)
    asyncio.run(watch(loaded, wait=wait))
