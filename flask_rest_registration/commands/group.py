"""The ``flask rest-registration`` commands; what one alone needs is imported by it, not by every start of an app."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from flask import Blueprint, current_app

from ..exceptions import ConfigurationError, DatabaseFault, ServiceUnavailable
from ..state import app_state


def add_commands(blueprint: Blueprint) -> None:
    """Give a blueprint's command group its commands.

    :param blueprint: one that no app has registered yet.
    """
    blueprint.cli.short_help = "Sign-up with e-mail verification."
    blueprint.cli.command("check")(_check)
    blueprint.cli.command("purge")(_purge)
    blueprint.cli.command("settings")(_settings)
    blueprint.cli.command("openapi")(_openapi)
    blueprint.cli.command("send-test-mail")(_send_test_mail)


def _check() -> None:
    """Check settings, user model, templates and mail settings.

    Ends with 1 if there are errors; warnings alone end with 0.
    """
    from .check import check_app

    report = check_app(current_app)
    for warning in report.warnings:
        click.secho(f"warning: {warning}", fg="yellow")
    for error in report.errors:
        click.secho(f"error: {error}", fg="red")
    click.echo(f"{len(report.errors)} errors, {len(report.warnings)} warnings")
    if report.errors:
        raise SystemExit(1)


@click.option("--dry-run", is_flag=True, help="Count them and delete nothing.")
def _purge(dry_run: bool) -> None:
    """Delete the pending registrations whose next message would start anew.

    No link of theirs works any more. Accounts are never touched. It is safe at any time, and need never be run.
    """
    try:
        state = app_state(current_app).registration()
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    if (pending := state.pending) is None:
        raise click.ClickException(
            "This app has no pending registrations: neither REGISTER_EMAIL_FIRST nor"
            " REGISTER_VERIFICATION_RESEND_ENABLED is on."
        )
    deleted = 0
    try:
        with state.accounts.rolled_back_on_failure():
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


def _settings() -> None:
    """Show the settings in force and where each came from.

    "found" is what was found in the app for a setting that was not given. Keys and log-ins are masked, and of objects
    only names are shown.
    """
    from .settings import effective_settings

    for setting in effective_settings(current_app):
        click.echo(f"{setting.name} = {setting.value} ({setting.origin})")


@click.option("--format", "form", type=click.Choice(["json", "yaml"]), default="json", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="A file to write to.")
def _openapi(form: str, output: Path | None) -> None:
    """Describe the endpoints that are switched on as OpenAPI 3.1."""
    try:
        from ..contrib.openapi import openapi, to_yaml  # an extra: imported only when used
    except ImportError as error:
        raise click.ClickException(
            f"This needs apispec ({error}): run pip install 'flask-rest-registration[openapi]'."
        ) from None
    try:
        document = openapi(current_app)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    text = to_yaml(document) if form == "yaml" else json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.FileError(str(output), hint=error.strerror) from None


@click.argument("address")
def _send_test_mail(address: str) -> None:
    """Send a mail to ADDRESS the way that verification mails take.

    It uses the app's mail server, log-in, sender and time-out. It is about no account and has no link. If the server
    does not accept it, this says at which step, and ends with 1.
    """
    from .send_test_mail import TrialFailed, send_trial_mail

    try:
        registration = app_state(current_app).registration()
        send_trial_mail(registration, address)
    except (ConfigurationError, TrialFailed) as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ADDRESS") from None
    click.echo(f"The mail server has accepted the mail to {address}.")
    if not registration.settings.sends_by_default:
        click.echo(
            "Verification mails do not take this way here: see REGISTER_VERIFICATION_ENABLED and"
            " REGISTER_VERIFICATION_EMAIL_SENDER."
        )
