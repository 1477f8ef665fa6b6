"""The commands of ``sjm``. Each is imported when it runs, so that ``sjm --help`` answers at once."""

import click

import sjm
from sjm.cli.command import Group

COMMANDS = {
    "jobs": ("sjm.cli.jobs:jobs", "List, change, run, pause and test jobs."),
    "executions": ("sjm.cli.executions:executions", "List, watch, cancel and rerun executions."),
    "schedules": ("sjm.cli.schedules:schedules", "List, preview and reconcile schedules."),
    "limits": ("sjm.cli.limits:limits", "List, show, change and delete limits."),
    "secrets": ("sjm.cli.secrets:secrets", "List, create and delete webhook secrets."),
    "apply": ("sjm.cli.apply:apply", "Make the jobs of the stage those of a file, after a review."),
    "doctor": ("sjm.cli.doctor:doctor", "Say what is wrong with the stage, and what to do."),
    "rehearse": ("sjm.cli.rehearse:rehearse", "Try a receiver of webhooks against all that can go wrong."),
    "console": ("sjm.cli.console:console", "Serve pages that show the stage and act on it."),
    "openapi": ("sjm.cli.openapi:openapi", "Print the OpenAPI document of the stage."),
    "completion": ("sjm.cli.completion:completion", "Print the completion script of a shell."),
}


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"sjm {sjm.__version__}")
        ctx.exit()


@click.command(
    "sjm",
    cls=Group,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
def app() -> None:
    """Look after the jobs of a stage of Serverless Job Manager."""
