"""A stand-in for the ModelScope hub on this machine: the requests its client makes to download a model."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


@contextmanager
def serve_model(folder: Path, model_id: str) -> Iterator[str]:
    """Serve a model folder under an id; gives the address to put into ``MODELSCOPE_DOMAIN``."""
    root = f"/api/v1/models/{model_id}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = parse_qs(address.query)
            if address.path == root:
                self._json({"Path": model_id.split("/")[1], "Name": model_id, "ModelId": 1})
            elif address.path == f"{root}/revisions":
                branches = [{"Revision": "master", "CreatedAt": 0}]
                self._json({"RevisionMap": {"Branches": branches, "Tags": []}, "Total": 1})
            elif address.path == f"{root}/repo/files":
                self._json({"Files": [_record(path, folder) for path in sorted(folder.rglob("*")) if path.is_file()]})
            elif address.path == f"{root}/repo" and "FilePath" in query:
                self._answer((folder / query["FilePath"][0]).read_bytes(), "application/octet-stream")
            else:
                self.send_error(404)

        def _json(self, data: Any) -> None:
            body = {"Code": 200, "Success": True, "Message": "", "Data": data}
            self._answer(json.dumps(body).encode(), "application/json")

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Keep the test output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _record(path: Path, folder: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "Name": path.name,
        "Path": str(path.relative_to(folder)),
        "Type": "blob",
        "Size": len(content),
        "Sha256": hashlib.sha256(content).hexdigest(),
        "Revision": "master",
        "Mode": "33188",
        "IsLFS": False,
        "CommittedDate": 0,
    }
