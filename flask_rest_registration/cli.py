"""The ``flask rest-registration`` commands."""

from __future__ import annotations

import click
from flask import Blueprint, current_app

from .checks import check_app


def add_commands(blueprint: Blueprint) -> None:
    """Give a blueprint's command group its commands.

    :param blueprint: one that no app has registered yet.
    """
    blueprint.cli.short_help = "Sign-up with e-mail verification."
    blueprint.cli.command("check")(_check)


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
