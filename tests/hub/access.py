"""Who may do what on the loopback Hub: people, their tokens, and the refusals that the Hub gives."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from .store import Refusal, Repo

OWNER, ORGANIZATION, STRANGER = "me", "lab", "stranger"

# Over plain HTTP the clients know a missing repository only by its code: they match 401 addresses against https://.
NO_REPO = "RepoNotFound"


@dataclass(frozen=True)
class Token:
    """One access token: whose it is, its role, and the repositories that a fine-grained one reaches."""

    secret: str
    user: str = OWNER
    role: str = "write"  # read, write, fineGrained, expired
    repos: tuple[str, ...] = ()

    @property
    def namespaces(self) -> tuple[str, ...]:
        return (OWNER, ORGANIZATION) if self.user == OWNER else (self.user,)

    def reaches(self, repo: str) -> bool:
        return repo.split("/")[0] in self.namespaces and (self.role != "fineGrained" or repo in self.repos)

    def whoami(self) -> dict:
        """Return what /api/whoami-v2 says."""
        access = {"displayName": f"test {self.role}", "role": self.role, "createdAt": "2026-01-01T00:00:00.000Z"}
        if self.role == "fineGrained":
            rights = ["repo.content.read", "repo.write"]
            scoped = [{"entity": {"type": "dataset", "name": name}, "permissions": rights} for name in self.repos]
            access["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": scoped}
        orgs = [{"type": "org", "name": name, "roleInOrg": "admin"} for name in self.namespaces[1:]]
        auth = {"type": "access_token", "accessToken": access}
        return {"type": "user", "id": "0" * 24, "name": self.user, "fullname": self.user, "orgs": orgs, "auth": auth}


class Tokens:
    """The tokens of one Hub, made anew for each."""

    KINDS = ("none", "wrong", "expired", "read", "write", "fine")

    def __init__(self) -> None:
        def secret(kind: str) -> str:
            return f"hf_{kind}{secrets.token_hex(12)}"

        self.wrong = secret("wrong")
        self.by_kind = {
            "expired": Token(secret("expired"), role="expired"),
            "read": Token(secret("read"), role="read"),
            "write": Token(secret("write")),
            "fine": Token(secret("fine"), role="fineGrained"),
            "stranger": Token(secret("stranger"), user=STRANGER),
        }
        self.by_secret = {token.secret: token for token in self.by_kind.values()}

    def get(self, kind: str) -> str | None:
        """Return a token of a kind; None for "none"."""
        return {"none": None, "wrong": self.wrong}[kind] if kind in ("none", "wrong") else self.by_kind[kind].secret

    def fine(self, *repos: str) -> str:
        """Return a new fine-grained token that reaches these repositories alone."""
        token = Token(f"hf_fine{secrets.token_hex(12)}", role="fineGrained", repos=repos)
        self.by_secret[token.secret] = token
        return token.secret

    def of(self, authorization: str | None) -> Token | None:
        """Return the token of a header, None without one; a bad one is refused even for public things."""
        if not authorization:
            return None
        token = self.by_secret.get(authorization.removeprefix("Bearer "))
        if token is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        if token.role == "expired":
            raise Refusal(401, 'User Access Token "test expired" is expired')
        return token


def may_see(repo: Repo | None, token: Token | None) -> Repo:
    """Return the repository, or hide it: a private one looks like none at all."""
    if repo is None or (repo.private and not (token and token.reaches(repo.name))):
        if token is None:
            raise Refusal(401, "Invalid username or password.", NO_REPO)
        raise Refusal(404, "Repository not found", NO_REPO)
    return repo


def may_download(repo: Repo, token: Token | None) -> None:
    """Refuse the files of a gated repository to those who were not let in (its listing is open)."""
    where = f"https://huggingface.co/{repo.kind}s/{repo.name}"
    if not repo.gated:
        return
    if token is None:
        text = f"Access to {repo.kind} {repo.name} is restricted. You must have access to it and be authenticated to access it."
        raise Refusal(401, f"{text} Please log in.", "GatedRepo")
    if token.role == "fineGrained" and repo.name not in token.repos:
        text = "Please enable access to public gated repositories in your fine-grained token settings to view this repository."
        raise Refusal(403, text, "GatedRepo")
    if not (token.reaches(repo.name) or token.user in repo.granted):
        text = f"Access to {repo.kind} {repo.name} is restricted and you are not in the authorized list."
        raise Refusal(403, f"{text} Visit {where} to ask for access.", "GatedRepo")


def may_write(repo: Repo, token: Token | None, create_pr: bool = False) -> Token:
    """Return the token if it may change the repository, or may at least ask to."""
    if token is None:
        raise Refusal(401, "Invalid username or password.", NO_REPO)
    if token.role == "read":
        raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
    if not token.reaches(repo.name) and not (create_pr and token.role == "write"):
        raise Refusal(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
    return token


def may_create(kind: str, name: str, token: Token | None) -> Token:
    """Return the token if it may make a repository of this name."""
    if token is None:
        raise Refusal(401, "Invalid username or password.")
    if token.role == "read" or not token.reaches(name):
        raise Refusal(403, f'You don\'t have the rights to create a {kind} under the namespace "{name.split("/")[0]}"')
    return token
