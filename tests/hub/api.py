"""The Hub's HTTP API over the repositories in memory: who asks, for what, and which function answers."""

from __future__ import annotations

from urllib.parse import unquote

from . import contents, repos  # noqa: F401 - they fill ROUTES
from .access import NO_REPO, Token, Tokens, may_see
from .messages import KINDS, ROUTES, Answer, Call, Request
from .store import Refusal, Store


class Api:
    """Everything the Hub answers, by route; the storage of large files has a host of its own (storage.py)."""

    def __init__(self, store: Store, tokens: Tokens):
        self.store, self.tokens = store, tokens
        self.url = self.storage_url = ""  # known once the servers listen
        self.page_size: int | None = None  # of tree and commit listings; None: as the Hub
        self.part_size: int | None = None  # of multipart uploads; None: always in one PUT

    def answer(self, request: Request) -> Answer:
        """Find the route, the token and the repository, and answer. Raises Refusal."""
        for method, pattern, function in ROUTES:
            if method == request.method and (found := pattern.fullmatch(request.path)):
                named = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                token = self._token(request, "repo" in named)
                with self.store.lock:
                    call = Call(request, token, None, named)
                    if "repo" in named:
                        call.repo = may_see(self.store.repos.get((KINDS[named.get("kind")], named["repo"])), token)
                    return function(self, call)
        raise Refusal(404, "Sorry, we can't find the page you are looking for.")

    def _token(self, request: Request, of_repo: bool) -> Token | None:
        try:
            return self.tokens.of(request.headers.get("authorization"))
        except Refusal as refusal:
            # https clients read any 401 but "Invalid credentials" at a repository as "not found"; http ones need the code
            if of_repo and "expired" in refusal.message:
                refusal.code = NO_REPO
            raise

    def page(self, call: Call, items: list, size: int) -> tuple[list, dict[str, str]]:
        """Cut one page out of a listing, and name the next in a Link header."""
        size, start = self.page_size or size, int(call.request.query.get("cursor", 0))
        if start + size >= len(items):
            return items[start:], {}
        rest = "&".join(f"{key}={value}" for key, value in call.request.query.items() if key != "cursor")
        address = f"{self.url}{call.request.path}?{rest}&cursor={start + size}"
        return items[start : start + size], {"Link": f'<{address}>; rel="next"'}
