"""The attacks: each is a test, and its docstring is printed when the attack succeeds."""

from . import addresses, codes, links, log_in, mail, sign_up

#: The modules of attacks, in the order in which they run.
MODULES = (sign_up, links, log_in, mail, addresses, codes)
