"""The ``flask rest-registration`` commands; each imports what it alone needs, so that apps start fast."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO

import click
from flask import Blueprint, current_app
from flask.cli import AppGroup

from ..exceptions import ConfigurationError, DatabaseFault, ServiceUnavailable
from ..state import app_state
from .wording import counted


class _Group(AppGroup):
    """Shows a ``ConfigurationError`` as a message, also one that keeps the app itself from being loaded."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        if os.environ.get("NO_COLOR"):  # https://no-color.org, which click leaves to its users
            ctx.color = False
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            raise click.ClickException(str(error)) from None


#: ``flask`` finds it by the package's entry point, so that it is there also for an app that cannot be loaded.
commands: AppGroup = _Group(
    "rest-registration",
    short_help="Sign-up with e-mail verification.",
    help="Look at the sign-up of an application, try its mail server and clean up.",
    epilog="Each command has a --help of its own, with examples.",
)


def _examples(*arguments: str) -> str:
    """Return the end of a help page, in which click is not to join the lines."""
    lines = [f"  flask --app signup rest-registration {each}" for each in arguments]
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *lines])


def add_commands(blueprint: Blueprint) -> None:
    """Give a blueprint the commands, before an app registers it: ``app.test_cli_runner()`` knows no entry points."""
    blueprint.cli = commands


@commands.command("check", epilog=_examples("check"))
def _check() -> None:
    """Check settings, keys, user model, mails and database.

    Nothing is stored or sent. The exit code is 1 if there are errors. With warnings alone it is 0.
    """
    from .check import check_app

    report = check_app(current_app)
    marks = _marks()
    for part in report.looked_at:
        mark, color = marks[part.found]
        click.echo(f"{click.style(mark, fg=color or None)} {part.text}")
    for error in report.errors:
        click.secho(f"error: {error}", fg="red")
    for warning in report.warnings:
        click.secho(f"warning: {warning}", fg="yellow")
    click.echo(f"{counted(len(report.errors), 'error')}, {counted(len(report.warnings), 'warning')}")
    if report.errors:
        raise SystemExit(1)


def _marks() -> dict[str, tuple[str, str]]:
    """Return mark and color by what was found, the marks in ASCII where the output cannot have others."""
    tick, cross = "\N{CHECK MARK}", "\N{BALLOT X}"
    try:
        f"{tick}{cross}".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        tick, cross = "+", "x"
    return {"nothing": (tick, "green"), "warning": ("!", "yellow"), "error": (cross, "red"), "unknown": ("-", "")}


@commands.command("purge", epilog=_examples("purge --dry-run", "purge"))
@click.option("--dry-run", is_flag=True, help="Count them and delete nothing.")
def _purge(dry_run: bool) -> None:
    """Delete pending registrations that are no longer needed.

    Their links work no more, and their next mail would start anew. No account is touched. The command may run at any
    time, or never.
    """
    state = app_state(current_app).ready()
    if (pending := state.pending) is None:
        raise click.ClickException(
            "This app has no pending registrations: neither REGISTER_EMAIL_FIRST nor"
            " REGISTER_VERIFICATION_RESEND_ENABLED is on."
        )
    deleted, noun = 0, "pending registration"
    try:
        with state.transactions.rolled_back_on_failure():
            found = pending.count_stale()
            if dry_run:
                click.echo(f"{counted(found, noun)} would be deleted")
                return
            with click.progressbar(pending.delete_stale(), length=found, label="Deleting", file=sys.stderr) as batches:
                for batch in batches:
                    deleted += batch
                    batches.update(batch - 1)  # the loop itself counts one
    except (ServiceUnavailable, DatabaseFault) as error:
        raise click.ClickException(f"{counted(deleted, noun)} deleted, then the database failed: {error}") from None
    click.echo(f"{counted(deleted, noun)} deleted")


@commands.command("settings", epilog=_examples("settings", "settings --changed", "settings --json > settings.json"))
@click.option("--changed", is_flag=True, help="Show only what your configuration sets.")
@click.option("--json", "is_json", is_flag=True, help="Print a JSON object, with durations in seconds.")
def _settings(changed: bool, is_json: bool) -> None:
    """Show the settings in force and where each came from.

    A value is the "default", or was "found" in your app, or came from the "dict" REST_REGISTRATION or the "flat key"
    REST_REGISTRATION_<NAME>. Settings of Flask and Flask-Mail come from "app.config".

    Keys and log-ins are masked. Of functions and objects only the names are shown.
    """
    from .settings import as_json, effective_settings, print_table

    settings = [each for each in effective_settings(current_app) if each.is_changed or not changed]
    if is_json:
        click.echo(as_json(settings))
    else:
        print_table(settings)


def _check_server(ctx: click.Context, option: click.Parameter, servers: tuple[str, ...]) -> tuple[str, ...]:
    for server in servers:
        if not server.startswith(("http://", "https://", "/")):
            raise click.BadParameter(f"{server!r} must start with https://, http:// or a slash.")
    return servers


@commands.command(
    "openapi",
    epilog=_examples(
        "openapi --output openapi.yaml", "openapi --title Shop --version 2", "openapi --server https://shop.example"
    ),
)
@click.option("--title", default="Registration", show_default=True, help="The title of the document.")
@click.option("--version", help="The version of your API.  [default: that of this package]")
@click.option(
    "--server",
    "servers",
    multiple=True,
    callback=_check_server,
    help="What stands before the paths: a URL, or a path such as the prefix of a proxy. It may be given again.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "yaml"]),
    help="The format.  [default: yaml for a file that ends with .yaml or .yml, else json]",
)
@click.option("--output", type=click.File("w", encoding="utf-8"), default="-", help="The file to write to.")
def _openapi(title: str, version: str | None, servers: tuple[str, ...], form: str | None, output: TextIO) -> None:
    """Describe the endpoints in an OpenAPI 3.1 document.

    It has the endpoints that are switched on, with your own fields. It needs the extra "openapi".
    """
    try:
        from ..contrib.openapi import openapi, to_yaml  # an extra: imported only when used
    except ImportError as error:
        raise click.ClickException(
            f"apispec is missing ({error}). Fix: run pip install 'flask-rest-registration[openapi]'."
        ) from None
    document = openapi(current_app, title=title, version=version, servers=servers)
    is_yaml = output.name.endswith((".yaml", ".yml")) if form is None else form == "yaml"
    output.write(to_yaml(document) if is_yaml else json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@commands.command("send-test-mail", epilog=_examples("send-test-mail me@example.com"))
@click.argument("address")
def _send_test_mail(address: str) -> None:
    """Send a test mail to ADDRESS.

    It goes the way of the verification mails: over your mail server, with your log-in, sender and time-out. It is about
    no account, and has no link. If the server does not accept it, the command says at which step, and the exit code is
    1.
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
