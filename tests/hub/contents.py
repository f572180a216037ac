"""What is in a repository: listed, uploaded, committed, downloaded."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from .access import may_download, may_write
from .cards import card_problems
from .messages import GIT, KINDS, PREFIX, REPO, Answer, Call, ranged, route
from .store import Blob, Change, Commit, Refusal, Repo, listing, upload_mode

if TYPE_CHECKING:
    from .api import Api


NO_LARGE_FILE = "Your push was rejected because an LFS pointer pointed to a file that does not exist."


@route("GET", f"/api/{REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
def tree(api: Api, call: Call) -> Answer:
    commit, folder = call.repo.find(call["revision"]), call.named.get("path", "").strip("/")
    start = f"{folder}/" if folder else ""
    inside = [path for path in commit.tree if path.startswith(start)]
    if not inside and folder:
        raise Refusal(404, f'"{folder}" does not exist on "{call["revision"]}"', "EntryNotFound")
    found: set[str] = set()
    for path in inside:
        parts = path[len(start) :].split("/")
        depths = range(1, len(parts) + 1) if call.request.flag("recursive") else [1]
        found.update(start + "/".join(parts[:depth]) for depth in depths)
    entries = [_entry(api, path, call, commit) for path in sorted(found)]
    page, headers = api.page(call, entries, 50 if call.request.flag("expand") else 1000)
    return Answer.of(page, **headers)


@route("POST", f"/api/{REPO}/paths-info/(?P<revision>[^/]+)")
def paths_info(api: Api, call: Call) -> Answer:
    commit, form = call.repo.find(call["revision"]), parse_qs(call.request.body.decode())
    known = [
        p for p in form.get("paths", []) if p in commit.tree or any(name.startswith(f"{p}/") for name in commit.tree)
    ]
    return Answer.of([_entry(api, path, call, commit, form.get("expand", [""])[0].lower() == "true") for path in known])


def _entry(api: Api, path: str, call: Call, commit: Commit, expand: bool = False) -> dict:
    entry = {
        "type": "file" if path in commit.tree else "directory",
        "path": path,
        **listing(path, commit.tree, "oid"),
    }
    if expand or call.request.flag("expand"):
        last = next(c for c in call.repo.history(commit.sha) if c.parent is None or _differs(path, c, call.repo))
        entry["lastCommit"] = {"id": last.sha, "title": last.title, "date": last.date}
    return entry


def _differs(path: str, commit: Commit, repo: Repo) -> bool:
    before = repo.commits[commit.parent].tree
    return listing(path, before, "oid") != listing(path, commit.tree, "oid")


@route("POST", f"/api/{REPO}/preupload/(?P<revision>[^/]+)")
def preupload(api: Api, call: Call) -> Answer:
    may_write(call.repo, call.token, call.request.flag("create_pr"))
    tree, files = call.repo.find(call["revision"]).tree, []
    for file in call.request.json["files"]:
        mode = upload_mode(file["path"], file["size"], base64.b64decode(file["sample"]))
        files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        if file["path"] in tree:
            files[-1]["oid"] = tree[file["path"]].etag
    return Answer.of({"files": files})


@route("POST", f"/{GIT}[.]git/info/lfs/objects/batch")
def batch(api: Api, call: Call) -> Answer:
    may_write(call.repo, call.token)  # not even for a pull request: the Hub refuses LFS uploads to others' repositories
    objects = [_upload(api, call.repo, item["oid"], item["size"]) for item in call.request.json["objects"]]
    return Answer.of({"transfer": "multipart" if api.part_size else "basic", "objects": objects})


def _upload(api: Api, repo: Repo, oid: str, size: int) -> dict:
    place = f"{repo.kind}s/{repo.name}/{oid}"
    if repo.large.get(oid) is not None:
        return {"oid": oid, "size": size}
    action: dict = {"href": f"{api.storage_url}/upload/{place}?signature=none"}
    if api.part_size and size > api.part_size:
        parts = range(1, -(-size // api.part_size) + 1)
        header = {str(n): f"{api.storage_url}/upload/{place}?part={n}&signature=none" for n in parts}
        action = {
            "href": f"{api.url}/api/complete/{place}",
            "header": {"chunk_size": str(api.part_size), **header},
        }
    verify = f"{api.url}/{PREFIX[repo.kind]}{repo.name}.git/info/lfs/objects/verify"
    return {"oid": oid, "size": size, "actions": {"upload": action, "verify": {"href": verify}}}


@route("POST", "/api/complete/(?P<place>(?P<kinds>[^/]+)/(?P<name>[^/]+/[^/]+)/(?P<oid>[0-9a-f]+))")
def complete(api: Api, call: Call) -> Answer:
    repo = api.store.repos[KINDS[call["kinds"]], call["name"]]  # unlike other calls this one bears no token
    parts = repo.parts.pop(call["oid"], {})
    wanted = [(part["partNumber"], part["etag"].strip('"')) for part in call.request.json["parts"]]
    if wanted != [(number, hashlib.md5(data).hexdigest()) for number, data in sorted(parts.items())]:
        raise Refusal(400, "Invalid parts")
    repo.keep(call["oid"], b"".join(parts[number] for number, _ in wanted))
    return Answer.of({"success": True})


@route("POST", f"/{GIT}[.]git/info/lfs/objects/verify")
def verify(api: Api, call: Call) -> Answer:
    may_write(call.repo, call.token)
    wanted = call.request.json
    if len(call.repo.large.get(wanted["oid"], b"")) != wanted["size"]:
        raise Refusal(404, "The uploaded object is missing or has another size")
    return Answer.of({})


@route("POST", f"/api/{REPO}/commit/(?P<revision>[^/]+)")
def commit(api: Api, call: Call) -> Answer:
    create_pr = call.request.flag("create_pr")
    author = may_write(call.repo, call.token, create_pr).user
    change, number = read_change(call.request.body, call.repo), None
    if create_pr:
        commit, number = call.repo.open_pull_request(change, call["revision"], author)
    else:
        commit = call.repo.commit(change, call["revision"], author)
    address = f"{api.url}/{PREFIX[call.repo.kind]}{call.repo.name}"
    said = {
        "success": True,
        "commitOid": commit.sha,
        "commitUrl": f"{address}/commit/{commit.sha}",
        "hookOutput": "",
    }
    if number is not None:
        said |= {"pullRequestUrl": f"{address}/discussions/{number}", "pullRequestNum": number}
    return Answer.of(said)


def read_change(body: bytes, repo: Repo) -> Change:
    """Read the lines of a commit request; large files must have been handed in before."""
    try:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        head = next(line["value"] for line in lines if line["key"] == "header")
        change = Change(head["summary"], head.get("description", ""), head.get("parentCommit"))
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                change.put[value["path"]] = Blob(base64.b64decode(value["content"], validate=True))
            elif line["key"] == "lfsFile":
                if value["oid"] not in repo.large:
                    raise Refusal(400, NO_LARGE_FILE)
                change.put[value["path"]] = Blob(repo.large[value["oid"]], lfs=True)
            elif line["key"] in ("deletedFile", "deletedFolder"):
                end = "/" if line["key"] == "deletedFolder" else ""
                change.gone.append(value["path"].rstrip("/") + end)
    except (ValueError, KeyError, TypeError, StopIteration, binascii.Error) as error:
        raise Refusal(400, f"Invalid commit: {error}") from None
    if (card := change.put.get("README.md")) and (errors := card_problems(card.data.decode(errors="replace"))[0]):
        raise Refusal(400, "Invalid metadata in README.md: " + "; ".join(errors))
    return change


@route("GET HEAD", f"/{GIT}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(api: Api, call: Call) -> Answer:
    may_download(call.repo, call.token)
    commit = call.repo.find(call["revision"])
    headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
    blob = commit.tree.get(call["path"])
    if blob is None:
        raise Refusal(404, "Entry not found", "EntryNotFound", headers)
    if not blob.lfs:
        headers |= {"ETag": f'"{blob.etag}"', "Content-Type": "text/plain; charset=utf-8"}
        return ranged(blob.data, call.request, headers)
    headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.data)), "ETag": f'"{blob.oid}"'}
    place = f"{call.repo.kind}s/{call.repo.name}/{blob.sha256}"
    return Answer(b"", 302, {**headers, "Location": f"{api.storage_url}/blob/{place}?signature=none"})
