"""A stub of the Hugging Face Hub on loopback: nginx over static JSON and the data set's files.

It answers what `hf download` asks: `api/models/ID/revision/main`, `api/models/ID/tree/COMMIT` and
`ID/resolve/COMMIT/FILE`. The same files are under `plain/` for curl, and `announce` is a BitTorrent tracker that
knows one peer.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import NAME
from benchmarks.dataset import DataSet
from benchmarks.peers import find
from benchmarks.servers import answers, serving
from counterparts import free_port

_COMMIT = hashlib.sha1(NAME.encode(), usedforsecurity=False).hexdigest()
_CONFIGURATION = """\
daemon off;
worker_processes auto;
pid "{folder}/pid";
error_log stderr error;
{user}
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    etag off;
    keepalive_requests 1000000;
    types {{ }}
    default_type application/octet-stream;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    map_hash_bucket_size 512;
    map $uri $entity {{
{entities}
    }}
    server {{
        listen 127.0.0.1:{port};
        location = /announce {{ alias "{folder}/announce"; }}
        location /plain/ {{ alias "{files}/"; }}
        location /{repository}/resolve/{commit}/ {{
            alias "{files}/";
            add_header ETag $entity;
            add_header X-Repo-Commit {commit};
        }}
        location = /api/models/{repository}/revision/main {{
            default_type application/json;
            alias "{folder}/revision.json";
        }}
        location = /api/models/{repository}/tree/{commit} {{
            default_type application/json;
            alias "{folder}/tree.json";
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Hub:
    """The running stub: `url` without a trailing slash, and the data set's paths as they stand in URLs."""

    url: str
    folder: Path
    paths: tuple[str, ...]

    @property
    def files_url(self) -> str:
        """The release's files as the Hub serves them, for web seeds."""
        return f"{self.url}/{NAME}/resolve/{_COMMIT}/"

    @property
    def announce(self) -> str:
        """The tracker's address."""
        return f"{self.url}/announce"

    def tell_peer(self, port: int) -> None:
        """Make the tracker answer with the peer at this loopback port (BEP 3, compact as in BEP 23)."""
        peer = socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big")
        (self.folder / "announce").write_bytes(b"d8:intervali1800e5:peers6:" + peer + b"e")

    def environment(self, environment: Mapping[str, str], home: Path) -> dict[str, str]:
        """Return what makes `hf` ask this stub and nobody else, with its cache in `home`."""
        return {
            **environment,
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "*",
        }


@contextmanager
def hub(data: DataSet, folder: Path, environment: Mapping[str, str]) -> Iterator[Hub]:
    """Serve a data set until the block ends. Raises `MissingProgram` without nginx, `ProgramFailed`."""
    nginx = find("nginx")
    folder.mkdir(parents=True)
    digests = data.digests()
    siblings = [{"rfilename": path} for path in digests]
    (folder / "revision.json").write_text(json.dumps({"id": NAME, "sha": _COMMIT, "siblings": siblings}))
    (folder / "tree.json").write_text(json.dumps([_tree_entry(data.folder, path, digests[path]) for path in digests]))
    port = free_port()
    resolved = f"/{NAME}/resolve/{_COMMIT}"
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder,
            files=data.folder,
            port=port,
            repository=NAME,
            commit=_COMMIT,
            # Workers of a server that root starts could not enter a temporary folder.
            user="user root;" if os.geteuid() == 0 else "",
            entities="\n".join(f"""        "{resolved}/{path}" '"{digest}"';""" for path, digest in digests.items()),
        )
    )
    options = ["-p", str(folder), "-e", "stderr", "-c", str(configuration)]
    with serving([nginx, *options], folder, environment, lambda: answers(port)):
        yield Hub(f"http://127.0.0.1:{port}", folder, tuple(digests))


def _tree_entry(folder: Path, path: str, digest: str) -> dict[str, object]:
    size = (folder / path).stat().st_size
    oid = hashlib.sha1(digest.encode(), usedforsecurity=False).hexdigest()
    return {
        "type": "file",
        "oid": oid,
        "size": size,
        "path": path,
        "lfs": {"oid": digest, "size": size, "pointerSize": 134},
    }
