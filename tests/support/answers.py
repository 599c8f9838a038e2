"""The one shape of refusals."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse


def refused(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a refusal in our shape, with a status and a code, and return its body."""
    assert (response.status_code, response.mimetype) == (status, "application/json"), response.text
    body = response.get_json()
    assert body["code"] == code, body
    assert set(body) == ({"detail", "code", "errors"} if code == "invalid" else {"detail", "code"})
    assert isinstance(body["detail"], str)
    assert body["detail"].strip()
    for texts in body.get("errors", {}).values():
        assert isinstance(texts, list)
        assert texts
        assert all(isinstance(text, str) and text.strip() for text in texts)
    assert response.headers.getlist("Cache-Control") == ["no-store"]
    return dict(body)


def field_errors(response: TestResponse) -> dict[str, list[str]]:
    """Check that an answer is 400 ``invalid``, and return its ``errors``."""
    errors = refused(response, 400, "invalid")["errors"]
    assert errors, "no field has an error"
    return dict(errors)


def is_proper(response: TestResponse) -> bool:
    """Tell whether an answer is a success or a refusal in our shape, and no 5xx."""
    if response.status_code in {200, 201, 202}:
        return True
    if response.status_code >= 500 or response.mimetype != "application/json":
        return False
    refused(response, response.status_code, response.get_json()["code"])
    return True
