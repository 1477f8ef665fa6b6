"""``sjm secrets``."""

import click

from sjm.cli import times
from sjm.cli.command import Session, group, pass_session
from sjm.cli.names import path_part, service_argument
from sjm.cli.output import Column


@group("secrets")
def secrets() -> None:
    """List, create and delete webhook secrets. They sign the webhooks of a service."""


@secrets.command("list")
@service_argument
@pass_session
def list_(session: Session, service: str) -> None:
    """List the valid secrets of a service, without what is secret."""
    columns = [
        Column("secret", lambda each: each["secret_id"], whole=True),
        Column("created", lambda each: session.shown(times.of_iso(each["created_at"])), whole=True),
        Column(
            "expires",
            lambda each: session.shown(times.of_iso(each["expires_at"])) if "expires_at" in each else "never",
            whole=True,
        ),
        Column("by", lambda each: each["created_by"]),
    ]
    session.output.rows(session.manager.list_webhook_secrets(service), columns, f"{service} has no secrets.")


@secrets.command()
@service_argument
@click.option("--overlap", metavar="SPAN", help="How long earlier secrets stay valid: 1h, 7d. [default: 1d]")
@pass_session
def create(session: Session, service: str, overlap: str | None) -> None:
    """Create a secret, and write it. It is never shown again."""
    seconds = None
    if overlap is not None:
        try:
            seconds = times.parse_span(overlap)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--overlap") from error
    created = session.manager.create_webhook_secret(service, overlap_seconds=seconds)
    if session.output.format != "table":
        session.output.document(created)
    else:
        session.output.text(created["secret"])
    session.output.message(f"This is {created['secret_id']}. Keep it now: it is never shown again.")
    for other in created["others"]:
        until = other.get("expires_at")
        shown = f"until {session.shown(times.of_iso(until))}" if until else "without an end"
        session.output.message(f"{other['secret_id']} stays valid {shown}.")


@secrets.command()
@service_argument
@click.argument("secret_id", metavar="SECRET", type=path_part)
@click.option("--force", is_flag=True, help="Also the last one, without which webhooks fail.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def delete(session: Session, service: str, secret_id: str, force: bool, yes: bool) -> None:
    """Delete a secret at once."""
    session.output.confirm(f"Delete the secret {secret_id} of {service}? It signs nothing from now on.", yes)
    session.manager.delete_webhook_secret(service, secret_id, force=force)
    session.output.message(f"{secret_id} is deleted.")
