"""``sjm openapi``."""

import click

from sjm.cli.command import Command, Session, pass_session


@click.command("openapi", cls=Command)
@pass_session
def openapi(session: Session) -> None:
    """Print the OpenAPI document of the stage. It needs no credentials if you pass --url."""
    if session.output.format == "table":
        session.output.format = "json"
    session.output.document(session.manager.get_openapi())
