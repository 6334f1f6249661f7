"""`taskwatch completion`: what a shell needs to complete commands and options."""

import click


@click.command(epilog="Example: taskwatch completion bash")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes these commands in your shell.

    \b
    Put it where the shell looks for it, once:
      bash  taskwatch completion bash > ~/.local/share/bash-completion/completions/taskwatch
      zsh   taskwatch completion zsh > "${fpath[1]}/_taskwatch"
      fish  taskwatch completion fish > ~/.config/fish/completions/taskwatch.fish
    """  # noqa: D301  (click wants the character, not its name)
    from click.shell_completion import get_completion_class

    from taskwatch.cli.main import group

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this version of click knows no completion for {shell}")
    click.echo(kind(group, {}, "taskwatch", "_TASKWATCH_COMPLETE").source())
