"""What the test modules stand on: real apps, real databases, real mail servers.

Fixtures (``tests/conftest.py``)
    ``build``
        Makes an app: ``build()``, ``build(models.classic_columns, registration={...}, config={...})``.
        Answers with :class:`~tests.support.apps.Built`. Engines are closed at the end of the test. Each app has an
        empty database of its own: an SQLite file, or one on the server that ``TEST_DATABASE`` names.
    ``smtp``
        A running :class:`~tests.support.mail_servers.RecordingServer`; the apps of ``build`` deliver to it
        unless they are given ``mail=another_server`` (any object with a ``port``) or ``mail=None``
        (Flask-Mail then sends nothing).
    ``clock``
        Stops the package's time at 1,700,000,000; ``clock.move(seconds)`` goes on (or back).
    ``trusted_certificate``
        Clients trust the servers that are made with ``security="starttls"`` or ``"tls"``; without it they refuse.

Databases
    ``TEST_DATABASE=postgresql`` or ``mariadb`` runs the suite there: the tests that have the fixture ``build`` (or
    ``server_databases``). What one database alone does is marked ``@pytest.mark.only_on("sqlite")``. A test sends SQL
    of its own through ``built.execute_outside()`` or ``built.outside()``, and takes ``variants.build_variant`` for
    isolation levels, collations and deferred constraints. How many tests a run leaves out, and why, stands at its end.

Modules
    ``apps``
        :class:`~tests.support.apps.Built` has ``app``, ``db``, ``mail``, ``User``, ``registration`` (the
        extension), ``client()``, ``body(**changes)``, ``register(**changes)``, ``verify(link_or_values)``,
        ``post(path, json)``, ``rows()``, ``row()``, ``engine``, ``database_uri``, ``outside()``,
        ``execute_outside(sql)``, ``enforce_foreign_keys()``. ``register`` sends a good body for the model;
        ``field=OMITTED`` leaves a field out. Also ``PASSWORD``, ``fast_hasher``, ``make_app``.
    ``answers``
        ``refused(response, 400, "parse-error")`` checks status, code and the shape of a refusal; ``field_errors``
        returns the ``errors`` of a 400 ``invalid``; ``is_proper`` says whether an answer may be given at all.
    ``models``
        User models as they are found in the wild, each a function of ``db``; ``ALL`` has them by name.
    ``mail_servers``
        ``RecordingServer`` (refuses with a given reply, STARTTLS, TLS, log-in, hooks) and servers that
        misbehave ``at="CONNECT" | "EHLO" | "MAIL" | "RCPT" | "DATA" | "TEXT" | "QUIT"``: ``SilentServer``,
        ``DrippingServer``, ``DroppingServer``, ``Rejecting421``.
    ``links``
        ``link_in(message)``, ``values_of(link)``, ``changed(values, field=...)``,
        ``with_other_character(text, position)``.
    ``messages``
        ``lacking(message, "User.email", "unique")``: which of the words a message does not have.
    ``statements``
        ``with recorded(engine) as statements``: ``statements.kinds`` is ``["BEGIN", "INSERT", "COMMIT"]``.
    ``databases``
        ``CHOSEN``, the servers, ``impatient()`` (connections that wait for no lock), ``conflict()``.
    ``variants``
        ``VARIANTS`` of the database of this run, and ``build_variant(build, name)``.
    ``processes``
        ``with processes(16, built, variant) as racing``: ``racing.post(path, *bodies)`` at the same moment.
    ``concurrency``
        ``at_once(n, function)`` and ``begin_by_hand(engine)``, SQLAlchemy's BEGIN recipe for SQLite.
    ``web``
        ``get(url)``, ``post(url, json)``, ``run_python("-m", "flask", folder=...)``, and
        ``with serving("app.py", folder=...) as url`` for servers in a process of their own.
"""
