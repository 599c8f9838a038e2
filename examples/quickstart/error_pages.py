"""What goes wrong, on a page in the application's looks."""

from __future__ import annotations

from flask import Flask, Response, current_app, request
from flask_login import current_user
from werkzeug.exceptions import HTTPException

# For each status a heading, and what to do. Other errors are shown with Werkzeug's own words.
WORDS = {
    400: ("This page was out of date", "Go back, load the page again, and repeat what you did."),
    404: ("There is no such page", "The address may have a typing error, or the page is gone."),
    405: ("This does not work here", "The page cannot do what it was asked for. Go back, and use its buttons."),
    413: ("That was too much at once", "Go back, and send less."),
    500: ("Something went wrong on our side", "It is not your fault. Please try again in a minute."),
}


def init_app(app: Flask) -> None:
    """Show every error of the application's pages; the registration API answers its own with JSON."""
    app.register_error_handler(HTTPException, error_page)


def error_page(error: HTTPException) -> Response:
    """Make the page of an error, with the headers that belong to it, such as ``Allow``."""
    response = Response(headers=error.get_headers(), status=error.code)
    heading, text = WORDS.get(error.code or 500, (error.name, error.description))
    # render_template() asks the database who is logged in, which may be what failed; current_user asks when it is used.
    template = current_app.jinja_env.get_template("error.html")
    response.data = template.render(
        heading=heading, text=text, status=error.code, request=request, current_user=current_user
    )
    return response
