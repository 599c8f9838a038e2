"""The ``flask rest-registration`` commands; each imports what it alone needs, so that apps start fast."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

import click
from flask import Blueprint, current_app
from flask.cli import AppGroup

from ..exceptions import ConfigurationError, DatabaseFault, ServiceUnavailable
from ..state import app_state


class _Group(AppGroup):
    """Shows a ``ConfigurationError`` as a message, also one that keeps the app itself from being loaded."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None


#: ``flask`` finds it by the package's entry point, so that it is there also for an app that cannot be loaded.
commands: AppGroup = _Group("rest-registration", short_help="Sign-up with e-mail verification.")


def add_commands(blueprint: Blueprint) -> None:
    """Give a blueprint the commands, before an app registers it: ``app.test_cli_runner()`` knows no entry points."""
    blueprint.cli = commands


@commands.command("check")
def _check() -> None:
    """Check settings, keys, user model, mails and database.

    Nothing is stored or sent. Ends with 1 if there are errors; warnings alone end with 0.
    """
    from .check import check_app

    report = check_app(current_app)
    for error in report.errors:
        click.secho(f"error: {error}", fg="red")
    for warning in report.warnings:
        click.secho(f"warning: {warning}", fg="yellow")
    if not report.errors:
        click.echo("\n- ".join(["Looked at:", *report.looked_at]))
    click.echo(f"{len(report.errors)} errors, {len(report.warnings)} warnings")
    if report.errors:
        raise SystemExit(1)


@commands.command("purge")
@click.option("--dry-run", is_flag=True, help="Count them and delete nothing.")
def _purge(dry_run: bool) -> None:
    """Delete the pending registrations whose next mail would start anew.

    No link of theirs works any more. Accounts are never touched. It is safe at any time, and need never be run.
    """
    state = app_state(current_app).ready()
    if (pending := state.pending) is None:
        raise click.ClickException(
            "This app has no pending registrations: neither REGISTER_EMAIL_FIRST nor"
            " REGISTER_VERIFICATION_RESEND_ENABLED is on."
        )
    deleted = 0
    try:
        with state.transactions.rolled_back_on_failure():
            found = pending.count_stale()
            if dry_run:
                click.echo(f"{found} pending registrations would be deleted")
                return
            with click.progressbar(pending.delete_stale(), length=found, label="Deleting", file=sys.stderr) as batches:
                for batch in batches:
                    deleted += batch
                    batches.update(batch - 1)  # the loop itself counts one
    except (ServiceUnavailable, DatabaseFault) as error:
        raise click.ClickException(
            f"{deleted} pending registrations deleted, then the database failed: {error}"
        ) from None
    click.echo(f"{deleted} pending registrations deleted")


@commands.command("settings")
def _settings() -> None:
    """Show the settings in force and where each came from.

    "found" is what was found in the app for a setting that was not given. Keys and log-ins are masked, and of objects
    only names are shown.
    """
    from .settings import effective_settings

    for name, value, origin in effective_settings(current_app):
        click.echo(f"{name} = {value} ({origin})")


@commands.command("openapi")
@click.option("--title", default="Registration", show_default=True, help="The title of the document.")
@click.option("--version", help="The version of the API; by default that of the package.")
@click.option(
    "--server",
    "servers",
    multiple=True,
    help="A URL that the paths are below, such as the prefix of a proxy; repeatable.",
)
@click.option("--format", "form", type=click.Choice(["json", "yaml"]), default="json", show_default=True)
@click.option("--output", type=click.File("w", encoding="utf-8"), default="-", help="A file to write to.")
def _openapi(title: str, version: str | None, servers: tuple[str, ...], form: str, output: TextIO) -> None:
    """Describe the endpoints that are switched on as OpenAPI 3.1."""
    try:
        from ..contrib.openapi import openapi, to_yaml  # an extra: imported only when used
    except ImportError as error:
        raise click.ClickException(
            f"apispec is missing ({error}). Fix: run pip install 'flask-rest-registration[openapi]'."
        ) from None
    document = openapi(current_app, title=title, version=version, servers=servers)
    output.write(to_yaml(document) if form == "yaml" else json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@commands.command("send-test-mail")
@click.argument("address")
def _send_test_mail(address: str) -> None:
    """Send a mail to ADDRESS the way that verification mails take.

    It uses the app's mail server, log-in, sender and time-out. It is about no account and has no link. If the server
    does not accept it, this says at which step, and ends with 1.
    """
    from .send_test_mail import TestMailFailed, send_test_mail

    try:
        state = app_state(current_app).ready()
        send_test_mail(state, address)
    except TestMailFailed as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ADDRESS") from None
    click.echo(f"The mail server has accepted the mail to {address}.")
    if not state.settings.sends_by_default:
        click.echo(
            "Verification mails do not take this way here: see REGISTER_VERIFICATION_ENABLED and"
            " REGISTER_VERIFICATION_EMAIL_SENDER."
        )
