"""A small hub on loopback, for huggingface_hub's own client: models and data sets to download, and room for uploads.

It speaks what the client (2.4) uses of https://huggingface.co/docs/hub/api. Files go over HTTP: runs set HF_HUB_DISABLE_XET.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = r"(?P<name>[\w.-]+/[\w.-]+)"
FILE = re.compile(rf"/(?P<kind>datasets/)?{REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
API = re.compile(rf"/api/(?P<kind>models|datasets)/{REPOSITORY}(/(?P<call>[\w-]+)/(?P<revision>[^/]+)(/(?P<path>.*))?)?")
LFS = re.compile(rf"/{REPOSITORY}\.git/info/lfs/objects/batch")


@dataclass
class Repository:
    """A model or data set.

    Attributes:
        revisions: The files of each branch or tag, by path.
        token: Whose bearer alone may see it; without one it is public.
        gated: Whether everybody sees that it is there, and only the token's bearer reads its files.
        breaks: By path, after how many bytes the connection is closed, once for each number.
    """

    revisions: dict[str, dict[str, bytes]]
    token: str | None = None
    gated: bool = False
    breaks: dict[str, list[int]] = field(default_factory=dict)

    def commit(self, revision: str) -> str:
        content = sorted((path, hashlib.sha1(file).hexdigest()) for path, file in self.revisions[revision].items())
        return hashlib.sha1(repr(content).encode()).hexdigest()

    def find(self, revision: str) -> str | None:
        """Returns the branch or tag that a revision means, which may be a commit too."""
        return next((name for name in self.revisions if revision in (name, self.commit(name))), None)


@dataclass
class Hub:
    """What the hub holds and what it has been asked.

    Attributes:
        url: For HF_ENDPOINT.
        repositories: By `models/OWNER/NAME` or `datasets/OWNER/NAME`.
        asked: The method, the path and the token of each request, and the byte from which on a file is asked for.
        created: What each request for a new repository said.
        expired: Tokens that are no longer good for anything.
        readers: Tokens that may read and not write.
        closed: Owners for whom no token may make a repository.
        uploaded: What has been uploaded as large files, by its SHA-256.
        is_gone: Whether connections are closed without an answer.
        is_busy: Whether every answer is that there is none for now.
    """

    server: ThreadingHTTPServer
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None, int]] = field(default_factory=list)
    created: list[dict] = field(default_factory=list)
    expired: set[str] = field(default_factory=set)
    readers: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    uploaded: dict[str, bytes] = field(default_factory=dict)
    is_gone: bool = False
    is_busy: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def add(self, name: str, files: dict[str, bytes] | Path, kind: str = "models", **more) -> Repository:
        """Adds a repository with one revision, `main`: files by their paths, or those of a folder."""
        if isinstance(files, Path):
            files = {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()}
        return self.repositories.setdefault(f"{kind}/{name}", Repository({"main": files}, **more))

    def tokens(self, name: str) -> set[str | None]:
        """Returns the tokens that came with the requests about a repository."""
        return {token for _, path, token, _ in self.asked if f"{name}/" in f"{path}/"}

    def starts(self, name: str, file: str) -> list[int]:
        """Returns from which byte on a file has been downloaded, each time."""
        found = [(path, start) for method, path, _, start in self.asked if method == "GET" and f"{name}/resolve/" in path]
        return [start for path, start in found if path.endswith(f"/{file}")]

    @contextmanager
    def out_of_order(self, what: str) -> Iterator[None]:
        """Sets `is_gone` or `is_busy`, until the end."""
        setattr(self, what, True)
        try:
            yield
        finally:
            setattr(self, what, False)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_) -> None:
        pass

    @property
    def start(self) -> int:
        return int(re.sub(r"\D", "", self.headers.get("Range", "0").partition("-")[0]))

    def answer(self, content: object = None, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        self.answer({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message, **headers})

    def send_file(self, repository: Repository, revision: str, path: str) -> None:
        content = repository.revisions[revision].get(path)
        commit = {"X-Repo-Commit": repository.commit(revision)}
        if content is None:
            return self.refuse(404, "EntryNotFound", "Entry not found", **commit)
        start = self.start
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"} | commit
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET" and repository.breaks.get(path):
            cut = start + repository.breaks[path].pop(0)
            self.answer(b"", 206 if start else 200, headers | {"Content-Length": str(len(content) - start)})
            self.wfile.write(content[start:cut])
            self.close_connection = True
            return None
        return self.answer(content[start:], 206 if start else 200, headers)

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        if self.hub.is_gone:
            self.close_connection = True
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        self.hub.asked.append((self.command, path, token, self.start))
        if self.hub.is_busy:
            self.refuse(503, "", "Service Unavailable")
        elif token in self.hub.expired:
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif match := FILE.fullmatch(path):
            self.ask(f"{match['kind'] or 'models/'}{match['name']}", match["revision"], "resolve", match["path"], token, body)
        elif match := API.fullmatch(path):
            call, revision = match["call"] or "revision", match["revision"] or "main"
            self.ask(f"{match['kind']}/{match['name']}", revision, call, match["path"] or "", token, body)
        elif path == "/api/whoami-v2":
            role = "read" if token in self.hub.readers else "write"
            self.answer({"name": "me", "orgs": [{"name": "they"}], "auth": {"accessToken": {"role": role}}})
        elif path == "/api/repos/create":
            self.create(json.loads(body), token)
        elif LFS.fullmatch(path):
            objects = json.loads(body)["objects"]
            upload = [{**one, "actions": {"upload": {"href": f"{self.hub.url}/upload/{one['oid']}"}}} for one in objects]
            self.answer({"transfer": "basic", "objects": upload})
        elif path.startswith("/upload/"):
            assert hashlib.sha256(body).hexdigest() == path.rpartition("/")[2], "not what was announced"
            self.hub.uploaded[path.rpartition("/")[2]] = body
            self.answer()
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path == "/":
            self.answer()
        else:
            self.refuse(404, "NotFound", "not spoken here")

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def ask(self, name: str, revision: str, call: str, path: str, token: str | None, body: bytes) -> None:
        """Answers what is asked of a repository; who may not see it is told that it is not there."""
        repository = self.hub.repositories.get(name)
        allowed = repository is not None and repository.token in (None, token)
        if repository is None or not (allowed or repository.gated):
            return self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        if (found := repository.find(revision)) is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if not allowed and call == "resolve":
            return self.refuse(403 if token else 401, "GatedRepo", "Access is restricted.")
        files = repository.revisions[found]
        if call == "resolve":
            return self.send_file(repository, found, path)
        if call == "revision":
            info = {
                "id": name.partition("/")[2],
                "sha": repository.commit(found),
                "private": bool(repository.token),
                "tags": [],
            }
            return self.answer(info | {"siblings": [{"rfilename": file} for file in files], "downloads": 0, "likes": 0})
        if call == "tree":
            inside = [file for file in files if file.startswith(f"{path}/" if path else "")]
            entries = [self.entry(file, files) for file in inside]
            return self.answer(entries) if entries else self.refuse(404, "EntryNotFound", f"{path} does not exist")
        if call == "paths-info":
            return self.answer([self.entry(file, files) for file in parse_qs(body.decode())["paths"] if file in files])
        if call == "preupload":
            asked = json.loads(body)["files"]
            modes = [(file["path"], "lfs" if file["path"].endswith(".safetensors") else "regular") for file in asked]
            return self.answer({"files": [{"path": at, "uploadMode": mode, "shouldIgnore": False} for at, mode in modes]})
        return self.commit(repository, name, found, body)

    @staticmethod
    def entry(path: str, files: dict[str, bytes]) -> dict:
        return {"type": "file", "path": path, "size": len(files[path]), "oid": hashlib.sha1(files[path]).hexdigest()}

    def create(self, asked: dict, token: str | None) -> None:
        if token in self.hub.readers or asked["organization"] in self.hub.closed:
            return self.refuse(403, "", "no right to write there")
        self.hub.created.append(asked)
        name = f"{asked['organization']}/{asked['name']}"
        self.hub.repositories[f"models/{name}"] = Repository({"main": {}}, token)
        return self.answer({"url": f"{self.hub.url}/{name}", "name": name})

    def commit(self, repository: Repository, name: str, revision: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository.revisions[revision][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.revisions[revision][value["path"]] = self.hub.uploaded[value["oid"]]
        commit = repository.commit(revision)
        self.answer({"commitUrl": f"{self.hub.url}/{name.removeprefix('models/')}/commit/{commit}", "commitOid": commit})


@contextmanager
def serving_hub() -> Iterator[Hub]:
    """Serves an empty hub on a free port of loopback, until the end."""
    handler = type("HubHandler", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.hub = Hub(server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield handler.hub
    finally:
        server.shutdown()
        server.server_close()
