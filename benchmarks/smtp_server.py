"""A mail server in a process of its own, whose time is nobody's: it takes mails and forgets them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from aiosmtpd.smtp import SMTP, Envelope, Session


class _Sink:
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        return "250 Message accepted"


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    # Without a name of its own the server asks the DNS for it.
    server = await loop.create_server(lambda: SMTP(_Sink(), hostname="localhost", loop=loop), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def smtp_server() -> Iterator[int]:
    """Run a mail server as long as the block lasts.

    :yields: its port on 127.0.0.1.
    """
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline() if process.stdout else "")
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_serve())
