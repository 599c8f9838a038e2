"""Run a Flask application on this machine: its port, its address, its secret key."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click
from flask import Flask
from werkzeug.serving import make_server

HOST = "127.0.0.1"
USUAL_PORT = 5000


def secret_key(path: Path) -> str:
    """Keep one random key in a file, so that links survive a restart of the application.

    :param path: the file, made on the first call, readable by the current user alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    if not path.read_text():
        path.write_text(secrets.token_hex(32))
    return path.read_text()


def local_url() -> str:
    """Build the address of this application, with the port that ``flask run --port`` was given."""
    command = click.get_current_context(silent=True)
    port = command.params.get("port") if command else None
    return f"http://{HOST}:{port or os.environ.get('PORT') or USUAL_PORT}"


def serve(create_app: Callable[[Mapping[str, object]], Flask]) -> None:
    """Serve an application until Ctrl+C, on the port that the command line or ``PORT`` asks for.

    :param create_app: makes the application from its configuration, here its ``PUBLIC_URL``.
    """
    with _listen(_port_asked_for()) as listener:
        port = listener.getsockname()[1]
        url = f"http://{HOST}:{port}"
        app = create_app({"PUBLIC_URL": url})
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # its lines would quote the links
        server = make_server(HOST, port, app, threaded=True, fd=listener.fileno())
        print(f"Open {url}/  (its mails: {url}/mailbox/, Ctrl+C to stop)", flush=True)
        server.serve_forever()


def _port_asked_for() -> int | None:
    parser = argparse.ArgumentParser(description="Run this example on this machine.")
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("PORT"),
        help=f"the port; default: $PORT, else {USUAL_PORT} or, where that is taken, a free one",
    )
    port: int | None = parser.parse_args().port
    return port


def _listen(port: int | None) -> socket.socket:
    try:
        return socket.create_server((HOST, USUAL_PORT if port is None else port))
    except (OSError, OverflowError) as error:
        if port is None:
            return socket.create_server((HOST, 0))
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no such port"
        sys.exit(f"Port {port} cannot be used ({reason}): choose another one with --port.")
