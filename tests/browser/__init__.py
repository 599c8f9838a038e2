"""The examples and the mails in headless Chromium: ``make browser-test``.

``--screenshots FOLDER``
    saves each view that a test looks at: on a phone and on a desktop, light and dark.
``--docs-images``
    renews the few of them that stand in ``docs/images``.

Fixtures (``conftest.py``)
    ``site``
        The quickstart, then the SPA: each test that takes it runs with both. Answers with
        :class:`~tests.browser.sites.Site`; ``quickstart_site`` and ``spa_site`` are one of them alone.
    ``page``
        A page of Chromium that fails the test when a script raises in it.
    ``looks``
        ``looks.at(page, "sent")`` demands that axe-core finds no fault and that nothing sticks out, in all four looks.
"""
