"""Requests and answers of the loopback Hub, and the table that says which function answers what."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from .access import Token
from .store import Refusal, Repo

if TYPE_CHECKING:
    from .api import Api

PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space", None: "model"}


@dataclass
class Request:
    """One request as it came in; `target` is the raw path with its query."""

    method: str
    target: str
    headers: dict[str, str]  # lower-case names
    body: bytes = field(repr=False)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.target).query).items()}

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("1", "true")

    @property
    def json(self) -> dict:
        try:
            return json.loads(self.body or b"{}")
        except ValueError:
            raise Refusal(400, "Invalid JSON") from None


@dataclass
class Answer:
    """What goes back: JSON unless the content type says otherwise."""

    body: bytes = field(default=b"", repr=False)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: object, status: int = 200, **headers: str) -> Answer:
        return cls(json.dumps(value).encode(), status, {"Content-Type": "application/json; charset=utf-8", **headers})


@dataclass
class Call:
    """A request with what its address names already looked up."""

    request: Request
    token: Token | None
    repo: Repo | None = None
    named: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.named[name]


REPO = r"(?P<kind>models|datasets|spaces)/(?P<repo>[^/]+/[^/]+)"
GIT = r"(?:(?P<kind>datasets|spaces)/)?(?P<repo>[^/]+/[^/]+)"
ROUTES: list[tuple[str, re.Pattern[str], Callable[[Api, Call], Answer]]] = []


def route(methods: str, pattern: str) -> Callable:
    """Bind a function to request methods and an address."""

    def bind(function: Callable[[Api, Call], Answer]) -> Callable[[Api, Call], Answer]:
        ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return bind


def ranged(data: bytes, request: Request, headers: dict[str, str]) -> Answer:
    """Answer with all of the data, or with the range that was asked for."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if not found or found.groups() == ("", ""):
        return Answer(data, 200, headers)
    first, last = found.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    stop = min(len(data), int(last) + 1) if first and last else len(data)
    if start >= len(data):
        raise Refusal(416, "Requested range not satisfiable", headers={"Content-Range": f"bytes */{len(data)}"})
    return Answer(data[start:stop], 206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})
