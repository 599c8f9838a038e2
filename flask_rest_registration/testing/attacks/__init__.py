"""The attacks: each is a test, whose docstring is printed when an application fails it."""

from . import addresses, codes, links, mail, sign_up

#: The modules of attacks, in the order in which they are run.
MODULES = (sign_up, links, mail, addresses, codes)
