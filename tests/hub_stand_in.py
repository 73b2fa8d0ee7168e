"""A stand-in for the ModelScope hub on this machine: what its client asks for to download and to upload a model.

It checks what a hub would: the access token of every request that writes, size and digest of every blob against
what was announced, and that a commit names only blobs that have arrived.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PRIVATE, PUBLIC = 1, 5
SIGNATURE = "signature-of-the-stand-in"


@dataclass
class Repository:
    """A model: the files of each branch, and the commits that made them."""

    visibility: int = PUBLIC
    license: str = ""
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"master": {}})
    commits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.branches["master"]


@dataclass
class Request:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def action(self) -> str:
        """What it is for: create, validate, blob or commit; empty where it only reads."""
        if self.method == "GET":
            return ""
        kinds = {"create": r"/api/v1/models", "validate": r".*/info/lfs/objects/batch", "commit": r".*/commit/[^/]+"}
        return next((kind for kind, path in kinds.items() if re.fullmatch(path, self.path)), "blob")


class RefusedError(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or status


class Hub:
    """The state of the stand-in.

    Attributes:
        address: What goes into ``MODELSCOPE_ENDPOINT``.
        tokens: The access tokens it takes.
        models: The repositories by id.
        blobs: What has arrived of large files, by digest.
        requests: Every request so far.
        foreign: Owners under whose name the tokens may not write.
        cuts: How many of the next blob uploads break off in the middle.
        broken: Digests of blobs whose uploads always do.
        faults: Answers to give once instead of the right one: the action and the status.
        watch: Called with every request before it is answered.
    """

    def __init__(self, tokens: tuple[str, ...] = ()) -> None:
        self.address = ""
        self.tokens = tokens
        self.models: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.foreign: set[str] = set()
        self.cuts = 0
        self.broken: set[str] = set()
        self.faults: list[tuple[str, int]] = []
        self.watch: Callable[[Request], None] = lambda request: None
        self.lock = threading.Lock()
        self._announced: dict[str, int] = {}

    def sent(self, action: str) -> list[Request]:
        """The requests of one kind."""
        return [request for request in self.requests if request.action == action]

    def answer(self, request: Request, token: str | None) -> Any:
        """The ``Data`` of the answer, or the bytes of a file."""
        if token is not None and token not in self.tokens:
            raise RefusedError(401, f"token {token} is invalid or expired")
        if request.action and token is None:
            raise RefusedError(401, "user not logged in")
        for fault in self.faults:
            if fault[0] == request.action:
                self.faults.remove(fault)
                raise RefusedError(fault[1], f"not now, {token}, at {self.address}/blobs/0?signature={SIGNATURE}")
        if request.action == "create":
            return self._create(request.body)
        if request.action == "blob":
            return self._store(request)
        match = re.fullmatch(r"/(?:api/v1(?:/repos)?|openapi/v1)/models/([^/]+)/([^/]+)(/.*)?", request.path)
        repo_id = f"{match[1]}/{match[2]}" if match else ""
        model = self.models.get(repo_id)
        if match is None or model is None:
            raise RefusedError(404, "model does not exist")
        if model.visibility == PRIVATE and (token is None or match[1] in self.foreign):
            raise RefusedError(404, "model does not exist")
        if request.action and match[1] in self.foreign:
            raise RefusedError(403, f"no right to write to {repo_id} with {token}")
        if request.action == "validate":
            return self._validate(request.body)
        if request.action == "commit":
            return self._commit(model, request.path.rpartition("/")[2], request.body)
        return self._read(model, repo_id, match[3] or "", request.query)

    def _create(self, body: dict[str, Any]) -> Any:
        repo_id = f"{body['Path']}/{body['Name']}"
        if repo_id in self.models:
            raise RefusedError(400, "该名称已被注册使用，请重新命名", 10010101001)
        if body["Path"] in self.foreign:
            raise RefusedError(403, "not your name")
        self.models[repo_id] = Repository(visibility=body["Visibility"], license=body["License"])
        return {"Id": len(self.models), "Path": body["Path"], "Name": body["Name"]}

    def _validate(self, body: dict[str, Any]) -> Any:
        objects = []
        for blob in body["objects"]:
            self._announced[blob["oid"]] = blob["size"]
            if blob["oid"] not in self.blobs:
                address = f"{self.address}/blobs/{blob['oid']}?signature={SIGNATURE}"
                objects.append(blob | {"actions": {"upload": {"href": address}}})
        return {"objects": objects}

    def _store(self, request: Request) -> Any:
        digest = request.path.rpartition("/")[2]
        if request.query.get("signature") != SIGNATURE:
            raise RefusedError(403, "wrong signature")
        if len(request.body) != self._announced[digest] or hashlib.sha256(request.body).hexdigest() != digest:
            raise RefusedError(400, "size or digest is not what was announced")
        self.blobs[digest] = request.body
        return {}

    def _commit(self, model: Repository, branch: str, body: dict[str, Any]) -> Any:
        if branch not in model.branches:
            raise RefusedError(404, "no such branch")
        files = dict(model.branches[branch])
        for action in body["actions"]:
            if action["action"] == "delete":
                if action["path"] not in files:
                    raise RefusedError(400, f"there is no {action['path']} to delete")
                del files[action["path"]]
                continue
            if action["type"] == "lfs":
                content = self.blobs.get(action["sha256"])
            else:
                content = base64.b64decode(action["content"])
            if action["action"] != "create" or content is None or len(content) != action["size"]:
                raise RefusedError(400, f"{action['path']} has not arrived")
            files[action["path"]] = content
        model.branches[branch] = files
        model.commits.append(body)
        return {"oid": hashlib.sha1(json.dumps(body).encode()).hexdigest()}

    def _read(self, model: Repository, repo_id: str, place: str, query: dict[str, str]) -> Any:
        owner, name = repo_id.split("/")
        files = model.branches.get(query.get("Revision", "master"), {})
        if not place:
            # Both interfaces ask here: the one calls itself private, the other has a visibility.
            return {"Path": owner, "Name": name, "ModelId": 1, "Visibility": model.visibility, "License": model.license}
        if place == "/revisions":
            branches = [{"Revision": branch, "CreatedAt": 0} for branch in model.branches]
            return {"RevisionMap": {"Branches": branches, "Tags": []}, "Total": len(branches)}
        if place == "/repo/files":
            return {"Files": [_record(path, content) for path, content in sorted(files.items())]}
        if place == "/repo" and query.get("FilePath") in files:
            return files[query["FilePath"]]
        raise RefusedError(404, "no such file")


@contextmanager
def serve_hub(*tokens: str) -> Iterator[Hub]:
    """Serve an empty hub that takes these access tokens."""
    hub = Hub(tokens)

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve_model(folder: Path, model_id: str) -> Iterator[str]:
    """Serve a model folder under an id; gives the address to put into ``MODELSCOPE_DOMAIN``."""
    with serve_hub() as hub:
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        hub.models[model_id] = Repository(branches={"master": files})
        yield hub.address


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    timeout = 3  # a hub does not wait for ever for bytes that were announced

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_GET  # noqa: N815  # names of the base class

    def _serve(self) -> None:
        address = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        request = Request(self.command, address.path, query, dict(self.headers), None)
        size = int(self.headers.get("Content-Length", 0))
        with self.hub.lock:
            self.hub.requests.append(request)
            chance = request.action == "blob" and self.hub.cuts > 0
            self.hub.cuts -= chance
            cut = chance or request.path.rpartition("/")[2] in self.hub.broken
        self.hub.watch(request)
        body = self.rfile.read(size // 2 if cut else size)
        if cut:
            return
        json_body = request.action in ("create", "validate", "commit")
        request.body = json.loads(body) if json_body else body
        try:
            with self.hub.lock:
                data = self.hub.answer(request, self._token())
        except RefusedError as error:
            self._json(error.status, error.code, str(error), None)
            return
        if isinstance(data, bytes):
            self._answer(200, data, "application/octet-stream")
        else:
            self._json(200, 200, "", data)

    def _token(self) -> str | None:
        header = self.headers.get("Authorization", "")
        return header.removeprefix("Bearer ") if header else None

    def _json(self, status: int, code: int, message: str, data: Any) -> None:
        success = status == 200
        if urlsplit(self.path).path.startswith("/openapi/"):
            body = {"success": success, "message": message, "data": data}
            if success:
                private = data.pop("Visibility") == PRIVATE
                body["data"] = {"id": f"{data['Path']}/{data['Name']}", "private": private}
        else:
            body = {"Code": code, "Success": success, "Message": message, "Data": data}
        self._answer(status, json.dumps(body).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Keep the test output clean."""


def _record(path: str, content: bytes) -> dict[str, Any]:
    return {
        "Name": path.rpartition("/")[2],
        "Path": path,
        "Type": "blob",
        "Size": len(content),
        "Sha256": hashlib.sha256(content).hexdigest(),
        "Revision": "master",
        "Mode": "33188",
        "IsLFS": False,
        "CommittedDate": 0,
    }
