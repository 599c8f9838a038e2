"""What a form sends, as the serializers read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask
from marshmallow import Schema, fields

from ..model.pending import CODE_FIELD, LINK_FIELDS
from .storable import refuse_unstorable


def read_form(app: Flask, data: Any, make_schema: Callable[[], Schema] | None = None) -> Any:
    """Return what a form has, as JSON would have it.

    Of several values under one name the first counts, and all of them for a list. A field that was left empty was not
    sent, unless the serializer requires it. Of a form that takes a link or a code, the one that was left empty was not
    sent beside the other. The token of Flask-WTF's CSRF protection is no field. What is no mapping is left to the
    serializer, which refuses it.

    :param make_schema: makes the serializer that will read it, unless that ignores other fields.
    :raises RequestRefused: as :func:`refuse_unstorable` does.
    """
    is_mapping = isinstance(data, Mapping)
    sent = {name: data[name] for name in data} if is_mapping else data  # a dict of a MultiDict itself would have lists
    if is_mapping and make_schema is not None:
        schema = make_schema()
        read = {field.data_key or name: field for name, field in schema.load_fields.items()}
        token = app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")
        if token not in read:
            sent.pop(token, None)
        get_all = getattr(data, "getlist", None)
        for name, field in read.items():
            if name in sent and get_all is not None and isinstance(field, fields.List):
                sent[name] = get_all(name)
            if sent.get(name) in ("", [""]) and not field.required:
                del sent[name]
        has_link, has_code = any(map(sent.get, LINK_FIELDS)), bool(sent.get(CODE_FIELD))
        if has_link != has_code:
            for name in [CODE_FIELD] if has_link else LINK_FIELDS:
                sent.pop(name, None)
    refuse_unstorable(sent)
    return sent
