"""Real stores of every kind on loopback: one node with a password, with TLS, a Sentinel set, a cluster.

Belongs here: starting, breaking and ending servers. Does not belong here: fixtures (store_modes) and what tests expect.
The binary is the embedded store's own; for TLS, which that lacks, a redis-server of the machine, or else a front.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis

from router.adapters.store.cluster_slots import SLOTS, slot_of
from router.adapters.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import Callable

BOUND_S = 20.0
PASSWORD = "p@ss/word"
QUOTED = "p%40ss%2Fword"


def free_port() -> int:
    """A port below the range that the system gives to clients, so that none takes it meanwhile."""
    for _ in range(100):
        port = 10_000 + int.from_bytes(os.urandom(2)) % 12_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Until ``condition`` is true and raises nothing of redis-py's."""
    end, why = time.monotonic() + BOUND_S, ""
    while True:
        try:
            if condition():
                return
        except redis.RedisError as error:
            why = str(error)
        assert time.monotonic() < end, f"not in time: {what}. {why}"
        time.sleep(0.01)


def binary() -> str:
    return str(EmbeddedStore(Path())._binaries()[0])


class Server:
    """One process; a context manager.

    Args:
        folder: its files.
        command: the binary and words before the options.
        options: of the server. ``port`` is chosen if not given.
    """

    def __init__(self, folder: Path, *, command: tuple[str, ...] = (), **options: Any) -> None:
        self.port = int(options.pop("port", 0)) or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        given = {"port": self.port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "yes", **options}
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", *str(value).split())]
        self.command = [*(command or (binary(),)), *(words if not command[1:] else [])]
        self.folder = folder
        self.client_options: dict[str, Any] = {"password": given.get("requirepass")}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        wait_for(self.ping, f"{self.command}: {(self.folder / 'log').read_text()}")

    def ping(self) -> bool:
        with self.client() as client:
            return bool(client.ping())

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(port=self.port, **self.client_options, **options)

    def ask(self, *words: Any) -> Any:
        with self.client() as client:
            return client.execute_command(*words)

    def info(self, section: str) -> dict[str, Any]:
        with self.client() as client:
            return client.info(section)

    def cut_off_replicas(self) -> None:
        """From now on no replica hears what is written here; who is connected stays so."""
        with self.client() as client:
            client.config_set("requirepass", "changed")
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        self.client_options = {"password": "changed"}

    def cluster_info(self) -> str:
        return str(self.ask("CLUSTER", "INFO").decode())

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(number)
            self.process.wait(BOUND_S)
            self.process = None

    def freeze(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        return self.process is not None


class Store:
    """A store of some kind: its URL, its data nodes, and the processes behind it."""

    url: str
    nodes: list[Server]

    def flush(self) -> None:
        """Empty it."""
        for node in self.nodes:
            if node.alive and node.info("replication")["role"] == "master":
                node.ask("FLUSHALL")

    def ask_all(self, *words: Any) -> None:
        """The same of every data node."""
        for node in self.nodes:
            node.ask(*words)


class Single(Store):
    """One node over TCP, with a password."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Server(folder, requirepass=PASSWORD)]
        self.url = f"redis://:{QUOTED}@127.0.0.1:{self.nodes[0].port}/2"

    def __enter__(self) -> Self:
        self.nodes[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.nodes[0].end(signal.SIGKILL)


class Tls(Store):
    """One node over TLS, with a certificate of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, key = make_certificate(folder)
        self._front: Front | None = None
        port = free_port()
        trust = {"tls_cert_file": self.certificate, "tls_key_file": key, "tls_ca_cert_file": self.certificate}
        native = shutil.which("redis-server") or shutil.which("valkey-server")
        if native and has_tls(native):
            node = Server(folder, command=(native,), tls_port=port, tls_auth_clients="no", **trust)
        else:
            node = Server(folder)
            self._front = Front(port, node.port, self.certificate, key)
        self.nodes = [node]
        self.url = f"rediss://localhost:{port}?ssl_ca_certs={self.certificate}"

    def __enter__(self) -> Self:
        self.nodes[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._front is not None:
            self._front.close()
        self.nodes[0].end(signal.SIGKILL)


class SentinelSet(Store):
    """A primary, replicas, and three sentinels that move it once it has been silent for 400 ms."""

    NAME = "books"

    def __init__(self, folder: Path, replicas: int = 1, **options: Any) -> None:
        self.folder = folder
        shared = {"requirepass": PASSWORD, "masterauth": PASSWORD, "repl_diskless_sync_delay": 0, **options}
        first = Server(folder / "n0", **shared)
        followers = [
            Server(folder / f"n{number}", replicaof=f"127.0.0.1 {first.port}", **shared)
            for number in range(1, replicas + 1)
        ]
        self.nodes = [first, *followers]
        self.sentinels = [self._sentinel(number) for number in range(3)]
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://:{QUOTED}@{hosts}/{self.NAME}/1?sentinel_password={QUOTED}"

    def _sentinel(self, number: int) -> Server:
        folder, port = self.folder / f"s{number}", free_port()
        folder.mkdir(parents=True)
        (folder / "conf").write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nrequirepass {PASSWORD}\n"
            f"sentinel monitor {self.NAME} 127.0.0.1 {self.nodes[0].port} 2\n"
            f"sentinel auth-pass {self.NAME} {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\n"
            f"sentinel down-after-milliseconds {self.NAME} 400\nsentinel failover-timeout {self.NAME} 4000\n"
        )
        server = Server(folder, command=(binary(), str(folder / "conf"), "--sentinel"), port=port)
        server.client_options = {"password": PASSWORD}
        return server

    def __enter__(self) -> Self:
        for server in (*self.nodes, *self.sentinels):
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (*self.sentinels, *self.nodes):
            server.end(signal.SIGKILL)

    def settled(self) -> None:
        """Wait until every replica is in step and every sentinel knows all the others and every replica."""
        for replica in self.nodes[1:]:
            wait_for(lambda r=replica: r.info("replication")["master_link_status"] == "up", "a replica in step")
        for sentinel in self.sentinels:

            def known(sentinel: Server = sentinel) -> bool:
                with sentinel.client(decode_responses=True) as client:
                    told = client.sentinel_master(self.NAME)
                    replicas = client.sentinel_slaves(self.NAME)
                in_step = [each for each in replicas if each["master-link-status"] == "ok"]
                return told["num-other-sentinels"] == 2 and len(in_step) == len(self.nodes) - 1

            wait_for(known, "a sentinel that knows all")

    def primary(self) -> Server:
        (found,) = [node for node in self.nodes if node.alive and node.info("replication")["role"] == "master"]
        return found


class Cluster(Store):
    """Primaries that share the slots evenly, put together by hand, and replicas of the first ones."""

    def __init__(self, folder: Path, primaries: int = 3, replicas: int = 0, **options: Any) -> None:
        shared = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": 1000,
            "cluster_replica_validity_factor": 0,
            "cluster_allow_replica_migration": "no",
            "repl_diskless_sync_delay": 0,
            **options,
        }
        self.nodes = [Server(folder / f"c{number}", **shared) for number in range(primaries + replicas)]
        self.primaries = self.nodes[:primaries]
        self.replicas = self.nodes[primaries:]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        share = SLOTS // len(self.primaries)
        for number, node in enumerate(self.primaries):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            last = SLOTS - 1 if number == len(self.primaries) - 1 else (number + 1) * share - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", number * share, last)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        for node in self.nodes:
            wait_for(lambda n=node: f"known_nodes:{len(self.nodes)}\r" in n.cluster_info(), "a meeting of all")
        for primary, replica in zip(self.primaries, self.replicas, strict=False):
            replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID"))
        for node in self.nodes:
            wait_for(lambda n=node: "cluster_state:ok" in n.cluster_info(), "a whole cluster")
        for replica in self.replicas:
            wait_for(lambda r=replica: r.info("replication").get("master_link_status") == "up", "a replica in step")
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.end(signal.SIGKILL)

    def owner(self, key: str) -> Server:
        """The primary that serves a key, by its own account."""
        for node in self.nodes:
            if node.alive:
                with node.client() as client, contextlib.suppress(redis.RedisError):
                    client.execute_command("EXISTS", key)
                    return node
        raise AssertionError(f"nobody serves {key}")

    def begin_move(self, key: str, target: Server) -> Server:
        """Announce that the key's slot goes to ``target``; returns where it comes from."""
        source, slot = self.owner(key), slot_of(key)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
        return source

    def end_move(self, key: str, source: Server, target: Server) -> None:
        """Move the slot's keys, and tell everybody."""
        slot, name = slot_of(key), target.ask("CLUSTER", "MYID")
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *(n for n in self.primaries if n not in {target, source} and n.alive)):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", name)


class Front:
    """Takes TLS off, for servers built without it: each connection is copied both ways by two threads."""

    def __init__(self, port: int, to: int, certificate: Path, key: Path) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", port))
        self._to = to
        self._context = context
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as outside,
            socket.create_connection(("127.0.0.1", self._to)) as inside,
        ):
            back = threading.Thread(target=copy, args=(inside, outside), daemon=True)
            back.start()
            copy(outside, inside)
            back.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def has_tls(native: str) -> bool:
    """Whether a server was built with TLS."""
    return "libssl" in subprocess.run(["ldd", native], capture_output=True, text=True, check=False).stdout


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    openssl = shutil.which("openssl")
    assert openssl, "openssl is not installed; it makes the certificate: apt-get install openssl"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    certificate, key = folder / "cert.pem", folder / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-addext", names, "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    return certificate, key
