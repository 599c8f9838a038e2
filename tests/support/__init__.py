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
    ``signals``, ``activations``
        What was sent while the test ran: the address of each ``user_registered``, the user of each
        ``user_activated``.
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
        ``field=OMITTED`` leaves a field out. Also ``PASSWORD``, ``fast_hasher``, ``make_app``, and ``REGISTER``,
        ``VERIFY``, ``CHECK_LINK``, ``RESEND`` for ``post``. With ``build(pending=True)`` there is a model of pending
        registrations, ``Pending``, on the users' bind, whose rows ``pending_rows()`` and ``pending_row()`` read.
    ``answers``
        ``refused(response, 400, "parse-error")`` checks status, code and the shape of a refusal; ``field_errors``
        returns the ``errors`` of a 400 ``invalid``; ``is_proper`` says whether an answer may be given at all.
    ``models``
        User models as they are found in the wild, each a function of ``db``; ``ALL`` has them by name.
    ``serializers``
        ``Rich``, a register serializer with a field of every kind.
    ``mail_servers``
        ``RecordingServer`` (refuses with a given reply, STARTTLS, TLS, log-in, hooks) and servers that
        misbehave ``at="CONNECT" | "EHLO" | "MAIL" | "RCPT" | "DATA" | "TEXT" | "QUIT"``: ``SilentServer``,
        ``DrippingServer``, ``DroppingServer``, ``Rejecting421``.
    ``links``
        ``link_in(message)``, ``code_of(message)``, ``values_of(link)``, ``changed(values, field=...)``,
        ``with_other_character(text, position)``.
    ``clock``
        ``Clock``, what the fixture of this name gives.
    ``hibp_server``
        A mirror of Pwned Passwords on a loopback port that answers as a test says.
    ``pages``
        ``blocks(page)`` are the code blocks of a page of the documentation; ``with Story(page, folder) as story:
        story.tell()`` writes each of its files and types each of its commands. ``run_files`` and ``curl`` are
        programs that stories run.
    ``messages``
        ``lacking(message, "User.email", "unique")``: which of the words a message does not have.
    ``statements``
        ``with recorded(engine) as statements``: ``statements.kinds`` is ``["BEGIN", "INSERT", "COMMIT"]``.
    ``databases``
        ``CHOSEN``, the servers, ``impatient()`` (connections that wait for no lock), ``conflict()``.
    ``variants``
        ``VARIANTS`` of the database of this run, and ``build_variant(build, name)``.
    ``processes``
        ``with processes(16, built, variant) as racing``: ``racing.post(path, *bodies)`` at the same time. Settings
        and a mail server of the processes' apps are given as ``registration`` and ``mail``.
    ``concurrency``
        ``at_once(n, function)``, ``until(condition)``, and ``begin_by_hand(engine)``, SQLAlchemy's BEGIN recipe
        for SQLite.
    ``celery_app``
        ``celery_init_app(app)`` as in Flask's documentation, and ``Worker``, a Celery worker in a process of its own.
    ``services``
        Servers that a machine may lack: ``missing("... is not installed")`` skips the test, or fails it if
        REQUIRE_SERVICES=1.
        ``with RedisServer(folder) as redis`` is one of the test's own, with ``stop()`` and ``start()``;
        ``Relay(port, freezes_at=...)`` falls silent in the middle.
    ``database_servers``
        ``with new_database("postgresql") as url``, or ``"mariadb"``: a database of the test's own on a server that
        runs already. ``TEST_POSTGRESQL_URL`` and ``TEST_MARIADB_URL`` say where.
    ``database_proxy``
        ``with DatabaseProxy(host, port) as proxy``: what an app reaches its database through; ``go_away()``,
        ``come_back()``, ``cut()``, ``lose_the_answer_to(b"COMMIT")``.
    ``gunicorn``, ``served_app``
        ``with gunicorn("tests.support.served_app:create_app()", ...) as server``: ``server.url``,
        ``server.workers()``, ``server.kill_one(random)``; the app notes what it does in a file.
    ``web``
        ``get(url)``, ``post(url, json)``, ``run_python("-m", "flask", folder=...)``, and
        ``with serving("app.py", folder=...) as url`` for servers in a process of their own.

Races
    ``test_account_races.py`` and ``test_pending_races.py`` use ``at_once``; their databases are files, since one in
    memory has one connection.

The plugin
    ``flask_rest_registration.testing`` is tried by ``test_attacks.py``, in runs of pytest inside pytest, against the
    good models of ``models`` and the applications with one mistake each of ``tests/bad_apps``.
"""
