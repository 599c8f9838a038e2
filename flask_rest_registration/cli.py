"""The ``flask rest-registration`` commands."""

from __future__ import annotations

from datetime import timedelta

import click
from flask import Blueprint, current_app

from .checks import check_app
from .claims import Purge
from .exceptions import ConfigurationError, DatabaseFault, ServiceUnavailable
from .state import app_state


def add_commands(blueprint: Blueprint) -> None:
    """Give a blueprint's command group its commands.

    :param blueprint: one that no app has registered yet.
    """
    blueprint.cli.short_help = "Sign-up with e-mail verification."
    blueprint.cli.command("check")(_check)
    blueprint.cli.command("purge")(_purge)


def _check() -> None:
    """Check settings, user model, templates and mail settings.

    Ends with 1 if there are errors; warnings alone end with 0.
    """
    report = check_app(current_app)
    for warning in report.warnings:
        click.secho(f"warning: {warning}", fg="yellow")
    for error in report.errors:
        click.secho(f"error: {error}", fg="red")
    click.echo(f"{len(report.errors)} errors, {len(report.warnings)} warnings")
    if report.errors:
        raise SystemExit(1)


@click.option("--older-than", type=click.IntRange(1, 36500), required=True, metavar="DAYS")
@click.option("--dry-run", is_flag=True, help="Count them and delete nothing.")
def _purge(older_than: int, dry_run: bool) -> None:
    """Delete the accounts that nobody verified since their last link was sent, DAYS ago or longer.

    Accounts that were verified once, made by hand or locked are no claims and stay.
    """
    try:
        purge = Purge(app_state(current_app).registration(), timedelta(days=older_than))
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--older-than") from None
    deleted = kept = 0
    try:
        found = purge.count()
        if dry_run:
            click.echo(f"{found} claims would be deleted")
            return
        with click.progressbar(purge.run(), length=found, label="Deleting claims") as batches:
            for batch in batches:
                deleted, kept = deleted + batch.deleted, kept + batch.refused
                batches.update(batch.deleted + batch.refused - 1)  # the loop itself counts one
    except (ServiceUnavailable, DatabaseFault) as error:
        reason = error.reason if isinstance(error, ServiceUnavailable) else str(error)
        raise click.ClickException(f"{deleted} claims deleted, then the database failed: {reason}") from None
    click.echo(f"{deleted} claims deleted, {kept} kept because other rows refer to them")
