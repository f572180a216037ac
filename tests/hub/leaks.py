"""Search a request for a secret in the encodings in which it could travel."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from .server import Seen


def spellings(secret: str) -> dict[str, bytes]:
    """Return the secret as it is, escaped for addresses, in hex, and in base64 at each of the three alignments."""
    raw = secret.encode()
    found = {
        "plain": raw,
        "quoted": quote(secret, safe="").encode(),
        "json": json.dumps(secret)[1:-1].encode(),
        "hex": raw.hex().encode(),
    }
    for shift in range(3):  # the characters at both ends depend on the neighbours, so they are cut off
        text = base64.b64encode(b"\0" * shift + raw)
        found[f"base64+{shift}"] = text[(0, 2, 3)[shift] :].rstrip(b"=")[:-1]
    return found


def leaks(seen: Seen, secret: str) -> list[str]:
    """Return the places of a request that hold a secret, its Authorization header to the Hub left out."""
    places = {"path": seen.path.encode(), "body": seen.body}
    places |= {f"header {name}": value.encode() for name, value in seen.headers.items()}
    if seen.host == "hub":
        places.pop("header authorization", None)
    return [
        f"request {seen.index} {seen.method} {seen.path}: {place} ({how})"
        for place, data in places.items()
        for how, spelling in spellings(secret).items()
        if spelling in data
    ]
