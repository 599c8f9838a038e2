"""The examples and the mails in headless Chromium: ``make browser-test``.

``--screenshots FOLDER`` saves each view that a test looks at; ``--docs-images`` renews the few in ``docs/images``.
"""
