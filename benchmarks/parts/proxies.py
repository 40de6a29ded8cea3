"""What stands between load and upstream: nothing, nginx, the bare pass-through. costrouter has a file of its own.

Belongs here: starting each in the same way and saying where it listens. Does not belong here: load and figures.
"""

import getpass
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from parts.processes import BenchError, await_port, children, free_port, python_program, start, tail

WORKER_S = 10.0


class SkippedError(Exception):
    """A proxy that cannot run here; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where a benchmark happens: the upstream's port, the two cores, a directory for files and logs."""

    upstream: int
    proxy_core: int
    other_core: int
    directory: Path


@dataclass(frozen=True)
class Proxy:
    """A proxy that serves. ``watched`` are process ids by part, for their processor time."""

    name: str
    port: int
    watched: dict[str, list[int]] = field(default_factory=dict)
    key: str = "bench"
    patience: float = 1.0
    """Windows are this many times as long: a slow proxy needs it for as good a figure."""
    log: Path | None = None
    check: Callable[[int], None] = lambda _: None
    """Called with the number of requests sent to it so far; raises when its books say another."""


def upstream(stack: ExitStack, other_core: int, directory: Path) -> tuple[int, int]:
    """Start the provider; (port, process id)."""
    port = free_port()
    log = directory / "upstream.log"
    process = start(stack, python_program("upstream.py", port), other_core, log=log)
    await_port(port, process, log)
    return port, process.pid


def direct(_stack: ExitStack, place: Place) -> Proxy:
    """No proxy at all: what load and upstream can do by themselves."""
    return Proxy("direct", place.upstream)


def bare(stack: ExitStack, place: Place) -> Proxy:
    """The yardstick."""
    port = free_port()
    log = place.directory / "bare.log"
    process = start(stack, python_program("bare.py", port, place.upstream), place.proxy_core, log=log)
    await_port(port, process, log)
    return Proxy("bare", port, {"proxy": [process.pid]}, log=log)


def nginx(stack: ExitStack, place: Place) -> Proxy:
    """One worker of nginx with kept-alive connections to the upstream.

    Raises:
        SkippedError: nginx is not installed.
        BenchError: it is, and does not serve.
    """
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SkippedError("nginx is not installed")
    port = free_port()
    folder = place.directory / "nginx"
    folder.mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(_nginx_configuration(folder, port, place.upstream))
    log = folder / "error.log"
    process = start(
        stack, [binary, "-p", str(folder), "-c", str(configuration), "-e", str(log)], place.proxy_core, log=log
    )
    await_port(port, process, log)
    # The master listens before it has its worker.
    bound = time.monotonic() + WORKER_S
    while not (workers := children(process.pid)):
        if time.monotonic() > bound:
            raise BenchError(f"nginx has no worker; the end of its log:\n{tail(log)}")
        time.sleep(0.01)
    return Proxy("nginx", port, {"proxy": workers}, log=log)


def _nginx_configuration(folder: Path, port: int, upstream_port: int) -> str:
    # Started by root, the worker would be another user, who may not enter the temporary directory.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    temporary = "\n  ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  {temporary}
  client_max_body_size 64m;
  client_body_buffer_size 128k;
  keepalive_requests 1000000000;
  upstream provider {{
    server 127.0.0.1:{upstream_port};
    keepalive 512;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""
