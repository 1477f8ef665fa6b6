"""``sjm completion``: the script with which a shell completes commands and options."""

import click
from click.shell_completion import get_completion_class

from sjm.cli.command import Command


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell. Load it with: source <(sjm completion bash)."""
    kind = get_completion_class(shell)
    assert kind
    click.echo(kind(ctx.find_root().command, {}, "sjm", "_SJM_COMPLETE").source())
