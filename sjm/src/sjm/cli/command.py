"""Commands that take the options of every command, and the session that these options describe."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from sjm.cli import times
from sjm.cli.exits import ExitCode
from sjm.cli.output import Output
from sjm.cli.stage import DEFAULT_NAME, Stage

if TYPE_CHECKING:
    from sjm.client import Manager


class Session:
    """One run of ``sjm``: the stage that it calls, and where it writes."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.output = Output()
        self.exit_code = ExitCode.SUCCESS

    @property
    def manager(self) -> "Manager":
        """The client of the stage."""
        return self.stage.manager

    def moment(self, option: str, text: str | None, direction: times.Direction) -> datetime | None:
        """The time that the value of an option means. Without an offset, it is as times are shown."""
        if text is None:
            return None
        try:
            zone = UTC if self.output.utc else None
            return times.parse_time(text, direction, datetime.now(UTC), zone)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option) from error

    def shown(self, moment: datetime) -> str:
        """A time as the user wants to see it."""
        return times.shown(moment, self.output.utc)


pass_session = click.make_pass_decorator(Session, ensure=True)


def _sets(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Notes an option that was given. The one after the command is stronger than the one before it."""
    if value is None or value is False:
        return
    session = ctx.ensure_object(Session)
    target = session.output if param.name in ("format", "utc") else session.stage
    setattr(target, str(param.name), value)


def common_options() -> list[click.Parameter]:
    """The options that stand before or after any command."""
    options: list[tuple[list[str], dict[str, Any]]] = [
        (["--stage"], {"metavar": "STAGE", "help": "The stage, such as prod. Or set SJM_STAGE."}),
        (
            ["--name"],
            {"metavar": "NAME", "help": f"The stage's name in Terraform. [default: {DEFAULT_NAME}]"},
        ),
        (
            ["--url"],
            {"metavar": "URL", "help": "The address of the API, in place of --stage. Or set SJM_URL."},
        ),
        (["--profile"], {"metavar": "PROFILE", "help": "A profile of your AWS configuration."}),
        (["--region"], {"metavar": "REGION", "help": "The stage's AWS region."}),
        (
            ["-o", "--output", "format"],
            {
                "type": click.Choice(["table", "json", "jsonl"]),
                "help": "How to write results. [default: table]",
            },
        ),
        (["--utc"], {"is_flag": True, "help": "Show times in UTC instead of your time zone."}),
    ]
    return [
        click.Option(names, expose_value=False, callback=_sets, **settings) for names, settings in options
    ]


class _WithCommonOptions(click.Command):
    """Takes the common options, and shows them after its own in the help."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, and the common ones."""
        return [*super().get_params(ctx), *self._common]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes two sections."""
        own = [param.get_help_record(ctx) for param in super().get_params(ctx)]
        common = [param.get_help_record(ctx) for param in self._common]
        for title, records in (("Options", own), ("Options of every command", common)):
            if rows := [record for record in records if record]:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._common = common_options()


class Command(_WithCommonOptions):
    """A command."""


class Group(_WithCommonOptions, click.Group):
    """Commands under one name. ``lazy`` has ``module:attribute`` and the short help for each name.

    The module of a command is imported when it runs, and not for the help of the group.
    """

    command_class = Command

    def __init__(
        self, *arguments: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which they were given."""
        return [*self._lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the names and the short helps."""
        rows = [(name, short) for name, (_, short) in self._lazy.items()]
        rows += [(name, command.get_short_help_str(100)) for name, command in self.commands.items()]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def group(name: str) -> Callable[[Callable[..., Any]], Group]:
    """Makes a group of a function that has only a docstring."""
    return click.group(name, cls=Group)


__all__ = ["Command", "Group", "Session", "common_options", "group", "pass_session"]
