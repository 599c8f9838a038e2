"""The examples and the mails in headless Chromium: ``make browser-test``.

``--screenshots FOLDER``
    saves each view that a test looks at: on a phone and on a desktop, light and dark.
``--docs-images``
    renews the few of them that stand in ``docs/images``.

Fixtures (``conftest.py``)
    ``quickstart_site``, ``spa_site``
        The quickstart (the account at sign-up) and the SPA (e-mail first), each a
        :class:`~tests.browser.sites.Site` with a fresh database and mailbox.
    ``page``
        A page of Chromium that fails the test when a script raises in it or in another window of the same browser.
    ``looks``
        ``looks.at(page, "sent")`` demands that axe-core finds no fault and that nothing sticks out, in all four looks.
"""
