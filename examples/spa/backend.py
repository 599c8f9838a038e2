"""The quickstart's application with e-mail first, for a front end on another origin.

``python backend.py`` builds the front end and serves both, on two ports. ``flask --app backend run`` serves the API
alone, for a front end that ``npm run dev`` serves.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from flask import Flask, Response, redirect, request, send_from_directory
from flask_babel import Babel
from flask_cors import CORS
from werkzeug.exceptions import NotFound
from werkzeug.serving import BaseWSGIServer, make_server

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "quickstart"))

from app import create_app as create_quickstart  # noqa: E402
from log_in import csrf  # noqa: E402
from token_log_in import api as token_api  # noqa: E402
from token_log_in import give_token  # noqa: E402

HOST = "127.0.0.1"
API_PORT = 5000
FRONT_END_PORT = 5173
LANGUAGES = ["en", "de", "ar"]  # of the front end; the registration API has texts in more
FRONT_END_PAGES = {"pages.sign_up": "/", "log_in.log_in": "/log-in/", "log_in.account": "/account/"}


def create_app(config: Mapping[str, object] | None = None) -> Flask:
    """Make the quickstart's application, with settings of its own, log-in by a token, and CORS.

    :param config: overrides for the configuration; ``PUBLIC_URL`` is the front end's address.
    """
    config = {"PUBLIC_URL": os.environ.get("FRONT_END_URL") or f"http://{HOST}:{FRONT_END_PORT}", **(config or {})}
    registration = {
        "REGISTER_VERIFICATION_URL": f"{config['PUBLIC_URL']}/verify-user/",
        "REGISTER_EMAIL_FIRST": True,
        "REGISTER_VERIFICATION_CODE_ENABLED": True,
        "REGISTER_VERIFICATION_RESEND_COOLDOWN": timedelta(seconds=30),  # short, to be tried out
        "REGISTER_VERIFICATION_AUTO_LOGIN": True,
        "LOGIN_HANDLER": give_token,
    }
    app = create_quickstart({"REST_REGISTRATION": registration, **config})
    Babel(app, locale_selector=lambda: request.accept_languages.best_match(LANGUAGES))  # of answers and mails
    app.register_blueprint(token_api)
    csrf.exempt(token_api)  # no cookies, so that another site has nothing to abuse
    # One origin, and for each address what the front end sends there. No cookies: it sends none.
    CORS(
        app,
        resources={
            r"/api/v1/(accounts|log-in)/.*": {"methods": ["POST"], "allow_headers": ["Content-Type"]},
            r"/api/v1/me": {"methods": ["GET"], "allow_headers": ["Authorization"]},
        },
        origins=[app.config["PUBLIC_URL"]],
        expose_headers=["Retry-After"],
        max_age=3600,
    )
    # The mailbox's pages lead to pages that are the front end's here.
    for endpoint, path in FRONT_END_PAGES.items():
        app.view_functions[endpoint] = lambda path=path: redirect(f"{app.config['PUBLIC_URL']}{path}")
    return app


def create_front_end(folder: Path, api_url: str) -> Flask:
    """Make a server of the built front end: its files, and its one page at every other address.

    :param folder: where it was built.
    :param api_url: the one address that its scripts may talk to.
    """
    site = Flask("front_end", static_folder=None)

    @site.get("/", defaults={"path": ""})
    @site.get("/<path:path>")
    def file(path: str) -> Response:
        try:
            return send_from_directory(folder, path)
        except NotFound:
            return send_from_directory(folder, "index.html")

    @site.after_request
    def protect(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = (
            f"default-src 'self'; connect-src {api_url}; img-src 'self' data:; "
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        )
        response.headers["Referrer-Policy"] = "no-referrer"  # the link's signature stands in the address
        return response

    return site


def build(api_url: str, folder: Path) -> None:
    """Check the front end's types and build it.

    :param api_url: the API's address, which is built in.
    :param folder: where to.
    """
    npm = shutil.which("npm")
    if not npm or not (HERE / "node_modules").exists():
        sys.exit("The front end's tools are missing: run `make spa`, or `npm ci` in examples/spa.")
    command = [npm, "run", "--silent", "build", "--", "--logLevel", "warn", "--emptyOutDir", "--outDir", str(folder)]
    if subprocess.run(command, cwd=HERE, env={**os.environ, "VITE_API_URL": api_url}, check=False).returncode:  # noqa: S603
        sys.exit("The front end could not be built.")


def listen(port: int) -> socket.socket:
    """Listen on a port or, where that is taken, on a free one."""
    try:
        return socket.create_server((HOST, port))
    except OSError:
        return socket.create_server((HOST, 0))


def url_of(listener: socket.socket) -> str:
    """Build the address that browsers reach a socket at."""
    return f"http://{HOST}:{listener.getsockname()[1]}"


def server_of(app: Flask, listener: socket.socket) -> BaseWSGIServer:
    """Make a server for an application on a socket."""
    return make_server(HOST, listener.getsockname()[1], app, threaded=True, fd=listener.fileno())


def main() -> None:
    """Build the front end, and serve it and the API until Ctrl+C."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # its lines would quote the links
    with listen(API_PORT) as api_socket, listen(FRONT_END_PORT) as front_end_socket:
        api_url, front_end_url = url_of(api_socket), url_of(front_end_socket)
        build(api_url, HERE / "dist")
        api = server_of(create_app({"PUBLIC_URL": front_end_url}), api_socket)
        threading.Thread(target=api.serve_forever, daemon=True).start()
        print(f"Front end: {front_end_url}/  (mails: {api_url}/mailbox/, Ctrl+C to stop)", flush=True)
        server_of(create_front_end(HERE / "dist", api_url), front_end_socket).serve_forever()


if __name__ == "__main__":
    main()
