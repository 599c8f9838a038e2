"""What the test modules stand on: real apps, real databases, real mail servers. Their docstrings say more.

The fixtures are in ``tests/conftest.py``: ``build()`` makes an app with an empty database of its own, which delivers
to the mail server ``smtp``; ``clock`` stops the package's time; ``signals`` and ``activations`` are what was sent;
``trusted_certificate`` lets clients trust the servers that speak TLS; ``site`` is the built documentation.

``TEST_DATABASE=postgresql`` or ``mariadb`` runs the tests there that have ``build`` or ``server_databases``. What one
database alone does is marked ``@pytest.mark.only_on("sqlite")``. How many tests a run leaves out stands at its end.

Apps: ``apps`` (what ``build`` gives, and the endpoints), ``models``, ``pending``, ``serializers``
Answers and mails: ``answers`` (the shape of refusals), ``described`` (OpenAPI), ``links``, ``messages``, ``statements``
Time and order: ``clock``, ``concurrency`` (threads), ``processes``, ``interference``
Databases: ``databases``, ``variants`` (isolation, collations), ``database_servers``, ``database_proxy``
Servers: ``mail_servers``, ``hibp_server``, ``services`` (Redis), ``celery_app``
Programs and pages: ``web``, ``pages`` with ``run_files`` and ``curl``, ``site``, ``django_project``
"""
