"""As much of curl as the documentation uses, for machines that have none."""

from __future__ import annotations

import argparse
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--data", type=str.encode)
    parser.add_argument("url")
    sent = parser.parse_args()
    headers = dict(line.split(": ", 1) for line in sent.header)
    try:
        answer = urlopen(Request(sent.url, data=sent.data, headers=headers), timeout=30)
    except HTTPError as refusal:
        answer = refusal
    with answer:
        sys.stdout.write(answer.read().decode())
