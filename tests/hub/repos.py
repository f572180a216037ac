"""Who am I, and repositories as such: made, described, named, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .access import may_create, may_see, may_write
from .cards import card_problems, front_matter
from .messages import PREFIX, REPO, Answer, Call, route
from .store import Refusal, listing

if TYPE_CHECKING:
    from .api import Api


@route("GET", "/api/whoami-v2")
def whoami(api: Api, call: Call) -> Answer:
    if call.token is None:
        raise Refusal(401, "Invalid username or password.")
    return Answer.of(call.token.whoami())


@route("GET", "/api/agent-harnesses")
def harnesses(api: Api, call: Call) -> Answer:
    return Answer.of({"standardEnvVars": [], "harnesses": {}})


@route("POST", "/api/validate-yaml")
def validate(api: Api, call: Call) -> Answer:
    errors, warnings = card_problems(call.request.json.get("content", ""))
    said = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return Answer.of(said, 400 if errors else 200)


@route("POST", "/api/repos/create")
def create(api: Api, call: Call) -> Answer:
    wanted = call.request.json
    kind = wanted.get("type") or "model"
    name = f"{wanted.get('organization') or (call.token.user if call.token else '')}/{wanted['name']}"
    may_create(kind, name, call.token)
    address = f"{api.url}/{PREFIX[kind]}{name}"
    private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
    try:
        repo = api.store.create(kind, name, private)
    except Refusal as refusal:  # the client of create_repo(exist_ok=True) reads the address from the refusal
        return Answer.of({"error": refusal.message, "url": address}, 409, **{"X-Error-Message": refusal.message})
    return Answer.of({"url": address, "name": repo.name, "id": repo.name, "private": repo.private})


@route("DELETE", "/api/repos/delete")
def delete(api: Api, call: Call) -> Answer:
    wanted = call.request.json
    name = f"{wanted.get('organization') or (call.token.user if call.token else '')}/{wanted['name']}"
    repo = may_see(api.store.repos.get((wanted.get("type") or "model", name)), call.token)
    may_write(repo, call.token)
    del api.store.repos[repo.kind, repo.name]
    return Answer.of({})


@route("PUT", f"/api/{REPO}/settings")
def settings(api: Api, call: Call) -> Answer:
    may_write(call.repo, call.token)
    wanted = call.request.json
    call.repo.gated = wanted.get("gated", call.repo.gated)
    call.repo.private = wanted.get("visibility", "private" if call.repo.private else "public") == "private"
    return Answer.of({"private": call.repo.private, "gated": call.repo.gated})


@route("GET", f"/api/{REPO}")
@route("GET", f"/api/{REPO}/revision/(?P<revision>[^/]+)")
def info(api: Api, call: Call) -> Answer:
    repo, commit = call.repo, call.repo.find(call.named.get("revision", "main"))
    files = [{"rfilename": path} for path in sorted(commit.tree)]
    if call.request.flag("blobs"):
        files = [{**file, **listing(file["rfilename"], commit.tree, "blobId")} for file in files]
    readme = commit.tree["README.md"].data.decode(errors="replace") if "README.md" in commit.tree else ""
    card = {} if card_problems(readme)[0] else front_matter(readme)
    tags = [
        f"{key}:{item}"
        for key in ("license", "language", "task_categories", "size_categories")
        for item in _many(card.get(key))
    ]
    said = {
        "_id": "0" * 24, "id": repo.name, "author": repo.owner, "sha": commit.sha, "private": repo.private,
        "gated": repo.gated, "disabled": False, "downloads": 0, "likes": 0, "siblings": files,
        "tags": tags + _many(card.get("tags")), "lastModified": commit.date, "createdAt": repo.history()[-1].date,
        "usedStorage": sum(map(len, repo.large.values())),
    }  # fmt: skip
    if card:
        said["cardData"] = card
    return Answer.of(said)


@route("GET", f"/api/{REPO}/commits/(?P<revision>[^/]+)")
def commits(api: Api, call: Call) -> Answer:
    page, headers = api.page(call, call.repo.history(call["revision"]), 50)
    fields = [
        {"id": c.sha, "title": c.title, "message": c.message, "date": c.date, "authors": [{"user": c.author}]}
        for c in page
    ]
    return Answer.of(fields, **headers)


@route("GET", f"/api/{REPO}/refs")
def refs(api: Api, call: Call) -> Answer:
    groups: dict[str, list] = {"branches": [], "tags": [], "converts": []}
    if call.request.flag("include_prs"):
        groups["pullRequests"] = []
    kinds = {"heads": "branches", "tags": "tags", "pr": "pullRequests"}
    for ref, sha in call.repo.refs.items():
        group, _, name = ref.removeprefix("refs/").partition("/")
        shown = {"name": ref if group == "pr" else name, "ref": ref, "targetCommit": sha}
        groups.get(kinds[group], []).append(shown)
    return Answer.of(groups)


@route("POST", f"/api/{REPO}/(?P<group>branch|tag)/(?P<name>[^/]+)")
def point(api: Api, call: Call) -> Answer:
    """Make a branch (its name in the address) or a tag (its start in the address)."""
    may_write(call.repo, call.token)
    wanted = call.request.json
    name, start = (
        (call["name"], wanted.get("startingPoint", "main"))
        if call["group"] == "branch"
        else (wanted["tag"], call["name"])
    )
    ref = f"refs/{'heads' if call['group'] == 'branch' else 'tags'}/{name}"
    if name.startswith("refs/"):
        raise Refusal(400, f"Invalid reference for a {call['group']}: {name}")
    if ref in call.repo.refs:
        raise Refusal(409, f"Reference already exists: {ref}")
    call.repo.refs[ref] = call.repo.find(start).sha
    return Answer.of({})


@route("DELETE", f"/api/{REPO}/(?P<group>branch|tag)/(?P<name>[^/]+)")
def unpoint(api: Api, call: Call) -> Answer:
    may_write(call.repo, call.token)
    ref = f"refs/{'heads' if call['group'] == 'branch' else 'tags'}/{call['name']}"
    if ref == "refs/heads/main":
        raise Refusal(403, "The main branch cannot be deleted")
    if call.repo.refs.pop(ref, None) is None:
        raise Refusal(404, f"Invalid rev id: {call['name']}", "RevisionNotFound")
    return Answer.of({})


def _many(value: object) -> list:
    return [] if value is None else value if isinstance(value, list) else [value]
