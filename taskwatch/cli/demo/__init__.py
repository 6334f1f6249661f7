"""`taskwatch demo`: the daemon's own code, a written configuration, a simulated cloud, a real webhook."""

import click

from taskwatch.cli.demo.ending import Ending


@click.command(epilog="Example: taskwatch demo --seconds 20 --seed 7")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=40.0, show_default=True, help="0: until Ctrl-C."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Which life the simulated cloud leads.")
@click.option(
    "--speed", type=click.FloatRange(min=0.1, max=3600), default=300.0, show_default=True,
    help="How much faster than real time the cloud lives.",
)  # fmt: skip
def demo(seconds: float, seed: int, speed: float) -> None:
    """Show the whole system on this machine: no account, nothing to configure.

    A simulated cloud, taskwatch as `run` runs it, and a webhook receiver that breaks and recovers.
    """
    ending = Ending()  # first: from here on Ctrl-C is heard, and interrupts nothing in the middle
    from contextlib import closing

    from taskwatch.cli.demo.show import opened_show

    with (
        closing(ending),
        opened_show() as show,
    ):  # what follows takes a second to import: something is to be seen by then
        import asyncio

        from taskwatch.cli.demo.stage import play

        if not ending.is_asked_for:
            asyncio.run(play(ending, show, seconds=seconds, seed=seed, speed=speed))
