"""As much of curl as the documentation uses, for machines that have none."""

from __future__ import annotations

import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def main(arguments: list[str]) -> None:
    """Send one request and print the body of its answer, whatever its status is."""
    headers, data, urls = {}, None, []
    words = iter(arguments)
    for word in words:
        if word == "--header":
            name, value = next(words).split(": ", 1)
            headers[name] = value
        elif word == "--data":
            data = next(words).encode()
        elif word.startswith("-"):
            raise SystemExit(f"curl.py does not know {word}")
        else:
            urls.append(word)
    (url,) = urls
    try:
        with urlopen(Request(url, data=data, headers=headers), timeout=30) as answer:
            sys.stdout.write(answer.read().decode())
    except HTTPError as refusal:
        with refusal:
            sys.stdout.write(refusal.read().decode())


if __name__ == "__main__":
    main(sys.argv[1:])
