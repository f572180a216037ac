"""Where large files are put and fetched: another host than the Hub, that takes signed addresses and no token."""

from __future__ import annotations

import hashlib
import re

from .messages import KINDS, Answer, Request, ranged
from .store import Refusal, Store

PLACE = re.compile(r"/(?P<what>upload|blob)/(?P<kinds>[^/]+)/(?P<name>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})")


class Storage:
    """PUT of whole files and of parts, GET and HEAD with ranges."""

    def __init__(self, store: Store):
        self.store = store

    def answer(self, request: Request) -> Answer:
        """Put or fetch one file. Raises Refusal."""
        found = PLACE.fullmatch(request.path)
        if "authorization" in request.headers:  # as S3: one way of proving who you are, and here it is the signature
            raise Refusal(400, "Only one auth mechanism allowed")
        if not found or "signature" not in request.query:
            raise Refusal(403, "AccessDenied")
        with self.store.lock:
            repo, oid = self.store.repos[KINDS[found["kinds"]], found["name"]], found["oid"]
            if found["what"] == "blob" and request.method in ("GET", "HEAD") and oid in repo.large:
                return ranged(repo.large[oid], request, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})
            if found["what"] == "upload" and request.method == "PUT":
                if "part" in request.query:
                    repo.parts.setdefault(oid, {})[int(request.query["part"])] = request.body
                else:
                    repo.keep(oid, request.body)
                return Answer(headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})
        raise Refusal(404, "NoSuchKey")
