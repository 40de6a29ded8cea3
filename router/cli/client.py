"""What commands need to ask a running server: its address and a key."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from router.settings import SettingsError, read_settings

_PIECE = 1 << 20
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Without the proxies of the environment: none of them may see the admin key."""


class NoServer(click.ClickException):
    """There is nobody to ask."""


tenant_option: Final = click.option("--tenant", help="Another tenant than the key's own.")


def of_tenant(path: str, tenant: str | None) -> str:
    """The path, asked for a tenant; for the key's own where None is named."""
    return path if not tenant else f"{path}?{urlencode({'tenant': tenant})}"


def ask(method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """One call to the server of this machine, with the admin key of its data directory or settings.

    Raises:
        click.ClickException: no server, no key, or its refusal, in words.
    """
    with contextlib.closing(_opened(method, path, body, headers)) as response:
        found: dict[str, Any] = json.load(response)
        return found


def download(path: str, target: Path) -> int:
    """What stands at a path of the server, to a file; its bytes.

    Raises:
        click.ClickException: as `ask`.
    """
    size = 0
    with contextlib.closing(_opened("GET", path)) as response, target.open("wb") as file:
        while piece := response.read(_PIECE):
            file.write(piece)
            size += len(piece)
    return size


def _opened(method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    key = settings.admin_key.get_secret_value() if settings.admin_key else ""
    if not key:
        with contextlib.suppress(OSError):
            key = (settings.data_dir / "admin.key").read_text().strip()
    return _asked(f"http://{settings.host}:{settings.port}{path}", key, method, body, headers or {})


def ask_at(url: str, key: str, method: str, path: str, document: Any = None) -> dict[str, Any]:
    """One call to a server that is known, with a key of its.

    Raises:
        click.ClickException: its refusal, in words.
    """
    body = None if document is None else json.dumps(document).encode()
    with contextlib.closing(_asked(url + path, key, method, body, {})) as response:
        found: dict[str, Any] = json.load(response)
        return found


def _asked(url: str, key: str, method: str, body: bytes | None, headers: dict[str, str]) -> Any:
    # Addresses come from settings or a node's own file: http, and this machine.
    request = urllib.request.Request(  # noqa: S310 - as said
        url, body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}, method=method
    )
    try:
        return _DIRECT.open(request, timeout=300 if body and len(body) > _PIECE else 30)
    except urllib.error.HTTPError as error:
        said = f"{url} answered {error.code}"
        with contextlib.closing(error), contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.load(error)["error"]["message"]
        raise click.ClickException(said) from None
    except OSError as error:
        raise NoServer(f"no server at {url} ({error}); start one with `costrouter serve`") from None
