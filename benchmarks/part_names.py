"""The parts of a request's work, by name."""

from __future__ import annotations

#: What a registration cannot do without: the names under which :mod:`parts` measures them, and what they are.
PARTS_OF_REGISTER = (
    ("flask", "Flask: routing, contexts, the answer as JSON"),
    ("json", "reading the body, parsing it"),
    ("load", "the schema's load, with email-validator"),
    ("email", "of this: email-validator"),
    ("validators", "PASSWORD_VALIDATORS"),
    ("hash", "PASSWORD_HASHER"),
    ("insert", "the object, the connection, INSERT (flush)"),
    ("sign", "signing the link"),
    ("templates", "rendering three templates"),
    ("message", "making Flask-Mail's Message"),
    ("delivery", "sending it; while that is suppressed, Flask-Mail's signal alone"),
    ("mime", "of this: its MIME bytes"),
    ("commit", "COMMIT"),
    ("dump", "the output schema's dump"),
)
#: The same of a verification.
PARTS_OF_VERIFY = (
    ("flask", "Flask: routing, contexts, the answer as JSON"),
    ("json", "reading the body, parsing it"),
    ("select", "the connection, SELECT (ORM)"),
    ("sign", "making the signature"),
    ("update", "conditional UPDATE of the table"),
    ("commit update", "COMMIT"),
)
#: Other ways to do a part, which cost more or promise less.
ALTERNATIVES = (
    ("columns", "SELECT of the columns, without an object"),
    ("update class", "conditional UPDATE of the class, synchronize_session=False"),
    ("update synchronized", "conditional UPDATE of the class, its default synchronisation"),
    ("update attribute", "setting the attribute and flushing, which two requests at once can do"),
    ("expired", "reading an attribute that the COMMIT expired"),
    ("schema", "making a schema for each request"),
    ("compile", "compiling a template for each request"),
)
