"""What the supervisor works out once, before it forks: policies, keys, providers, encoders.

Belongs here: reading everything that workers share, and refusing what cannot work. Does not belong here: a worker's own
objects (app.py), processes (supervisor.py).
"""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from router.adapters.counting.encoders import Encoders
from router.adapters.fleet.otlp import installed
from router.adapters.fleet.request_log import configure
from router.adapters.http.admin import HOME, OPERATOR
from router.adapters.keys.key_files import KeyFileError, kept_key
from router.adapters.keys.own_keys import BroughtKeys
from router.adapters.policies.files import Loaded, catalog_dir, packaged_policies_dir
from router.adapters.policies.store import PolicySet, PolicyStore
from router.adapters.policies.yaml_document import PolicyFileError
from router.adapters.upstream.hosting import ProviderError, completed
from router.adapters.upstream.provider_keys import read_keys
from router.adapters.upstream.providers import needed, own_link, reachable, real_links, simulated_link
from router.adapters.upstream.service_account import VARIABLE, ServiceAccount
from router.core.budgets.budget import Budget, generated_budget
from router.core.catalog.catalog import Catalog, Provider
from router.core.deciding.decide import Facts, decide
from router.core.deciding.explain import refusal
from router.core.deciding.snapshot import Snapshot, World, compile_snapshot
from router.core.errors import RouterError
from router.core.names import AUTO, Names
from router.core.policy.binding import Binds
from router.core.policy.governing import DEFAULT_POLICY, Wish
from router.core.tokens import exactly
from router.core.values import Needs
from router.dialects.ways import INBOUND
from router.ports import ProviderLink, Timeouts
from router.processes import BACKLOG
from router.settings import Settings, SettingsError

DEV: Final = "dev"
"""The id of the settings' development key."""


class Plan(msgspec.Struct):
    """What the supervisor worked out once and every worker is forked with."""

    settings: Settings
    store_url: str
    """Empty until the node's own store answers."""
    port: int
    world: World
    links: dict[str, ProviderLink]
    """Each provider's, with its first key."""
    keyed_links: dict[str, tuple[ProviderLink, ...]]
    """Each provider's, one a key."""
    own_links: dict[str, ProviderLink]
    """Of providers whose own keys callers may bring: the key is still to be put in."""
    simulated: bool
    sim_socket: socket.socket | None
    """The supervisor's and the simulator's; a worker has closed it."""
    sim_port: int
    """0 without simulated providers."""
    catalog_dir: Path
    policies: PolicySet
    """In force when the node started."""
    policy_store: PolicyStore
    warnings: list[str]
    """Besides those of policies."""
    example: str
    """A model name that serves, for the banner."""
    dev_key: str
    """Empty for none."""
    admin_key: str
    built_in_budgets: tuple[Budget, ...]
    """Of the keys that the node generated."""
    snapshot: Snapshot
    """Of the world as it was prepared; what holds on is taken from it."""
    encoders: Encoders
    """To be preloaded before workers are forked."""

    @property
    def sim_url(self) -> str:
        """Where the simulated providers answer; empty for none."""
        return f"http://127.0.0.1:{self.sim_port}" if self.sim_port else ""


def renewed(plan: Plan) -> Plan:
    """What `prepare` reads now, at the same place, with the same simulated providers.

    Raises:
        SettingsError: something in it cannot work any more.
    """
    return prepare(plan.settings, plan.port, plan)


def prepare(settings: Settings, port: int, former: Plan | None = None) -> Plan:
    """Read everything that workers share: policies, keys, providers. The encoders it leaves to be preloaded.

    Args:
        settings: the node's.
        port: where callers come.
        former: what was prepared before; of it stays what is running, or does not change.

    Raises:
        SettingsError: something in it cannot work.
    """
    configure(settings.log_level)
    if settings.traces and not installed():
        raise SettingsError("COSTROUTER_TRACES needs OpenTelemetry: pip install 'costrouter[otel]'")
    warnings = _checked(settings.redis_url) if settings.redis_url else []
    directory = settings.policies or packaged_policies_dir()
    store = PolicyStore(directory, settings.data_dir)
    try:
        found = store.load()
    except PolicyFileError as error:
        raise SettingsError(f"the policies cannot be used:\n{error}") from None
    loaded = found.loaded
    environment = _provider_environment(settings)
    real = [p for p in loaded.catalog.providers.values() if reachable(p, environment)]
    own = any(p.passthrough and p.spoken for p in loaded.catalog.providers.values())
    simulated = settings.sim if settings.sim is not None else not (real or own)
    sim_socket = former.sim_socket if former is not None else _sim_socket() if simulated else None
    offered = [p for p in loaded.catalog.providers.values() if p.spoken] if simulated else real
    if not offered and not own:
        names = ", ".join(sorted({needed(p) for p in loaded.catalog.providers.values() if p.spoken} - {""}))
        raise SettingsError(f"no provider can be called: set one of {names}, or leave COSTROUTER_SIM unset")
    world = world_of(loaded, (provider.name for provider in offered))
    sim_port = 0 if sim_socket is None else sim_socket.getsockname()[1]
    links = _links(offered, settings, sim_port, environment)
    dev_key, admin_key = _keys(settings)
    snapshot = compile_snapshot("start", world, dt.datetime.now(dt.UTC), lambda _: None)
    example, why = _example(snapshot)
    return Plan(
        settings=settings,
        store_url=(settings.redis_url or "") if former is None else former.store_url,
        port=port,
        world=world,
        links={name: keyed[0] for name, keyed in links.items()},
        keyed_links=links,
        own_links=own_links(loaded.catalog, settings, sim_port, environment),
        simulated=simulated,
        sim_socket=sim_socket,
        sim_port=sim_port,
        catalog_dir=catalog_dir(directory),
        policies=found,
        policy_store=store,
        warnings=[*warnings, *([why] if why else [])],
        example=example,
        dev_key=dev_key,
        admin_key=admin_key,
        built_in_budgets=tuple(generated_budget(HOME, key) for key in _generated(settings, dev_key)),
        snapshot=snapshot,
        encoders=Encoders() if former is None else former.encoders,
    )


def world_of(loaded: Loaded, offered: Iterable[str]) -> World:
    """What a set of policies makes of the world.

    Args:
        loaded: policies and catalog.
        offered: names of the providers that can be called.
    """
    policies = dict(loaded.policies)
    policies.setdefault(DEFAULT_POLICY, next(iter(policies.values())))
    return World(
        catalog=loaded.catalog,
        policies=policies,
        names=Names(loaded.catalog),
        offered=frozenset(offered) & {p.name for p in loaded.catalog.providers.values() if p.spoken},
        binds=Binds(policies.values()),
        zones=loaded.zones,
    )


def _checked(redis_url: str) -> list[str]:
    from router.adapters.store.check import StoreUnfitError, check_store  # noqa: PLC0415 - redis-py takes a while to load

    try:
        return check_store(redis_url)
    except StoreUnfitError as error:
        raise SettingsError(str(error)) from None


def _sim_socket() -> socket.socket:
    place = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    place.bind(("127.0.0.1", 0))
    place.listen(BACKLOG)
    return place


def _given_key(settings: Settings, kind: str) -> str:
    """A key from the settings, or one that only this machine can use; the empty text where there may be none."""
    given = settings.dev_key if kind == "dev" else settings.admin_key
    if given is not None:
        return given.get_secret_value()
    return kept_key(settings.data_dir, kind) if settings.loopback else ""


def _keys(settings: Settings) -> tuple[str, str]:
    try:
        dev, admin = _given_key(settings, "dev"), _given_key(settings, "admin")
    except KeyFileError as error:
        raise SettingsError(str(error)) from None
    if not admin:
        raise SettingsError(f"{settings.host} can be reached from outside: set COSTROUTER_ADMIN_KEY")
    if dev == admin:
        raise SettingsError("COSTROUTER_DEV_KEY and COSTROUTER_ADMIN_KEY must differ: they have different rights")
    return dev, admin


def _generated(settings: Settings, dev_key: str) -> list[str]:
    """Ids of the keys that nobody chose."""
    admin = [OPERATOR] if settings.admin_key is None else []
    return [*admin, DEV] if settings.dev_key is None and dev_key else admin


def _provider_environment(settings: Settings) -> Mapping[str, str]:
    """The environment, and over it the file of providers' keys."""
    keys: Mapping[str, str] = {}
    if settings.provider_keys is not None:
        try:
            keys = read_keys(settings.provider_keys)
        except ProviderError as error:
            raise SettingsError(f"COSTROUTER_PROVIDER_KEYS: {error}") from None
    account = settings.environment.get(VARIABLE, "").strip()
    try:
        if account:
            ServiceAccount(Path(account))
        return completed({**settings.environment, **keys})
    except ProviderError as error:
        raise SettingsError(str(error)) from None


def renewed_links(plan: Plan, keys: Mapping[str, str]) -> dict[str, tuple[ProviderLink, ...]]:
    """The providers' links with other keys from the file; which providers there are stays.

    Raises:
        ProviderError: a key cannot be used, or a provider would have none.
    """
    environment = completed({**plan.settings.environment, **keys})
    offered = [plan.world.catalog.providers[name] for name in plan.keyed_links]
    if plan.simulated:
        return plan.keyed_links
    lost = [provider.name for provider in offered if not reachable(provider, environment)]
    if lost:
        raise ProviderError(f"{', '.join(lost)} would have no key; restart without it to take it out of use")
    timeouts = _timeouts(plan.settings)
    return {provider.name: real_links(provider, environment, timeouts) for provider in offered}


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        connect=settings.connect_timeout_s,
        first_byte=settings.first_byte_timeout_s,
        between_chunks=settings.chunk_timeout_s,
        total=settings.total_timeout_s,
    )


def _links(
    offered: list[Provider], settings: Settings, sim_port: int, environment: Mapping[str, str]
) -> dict[str, tuple[ProviderLink, ...]]:
    timeouts = _timeouts(settings)
    if sim_port:
        return {provider.name: (simulated_link(provider, sim_port, timeouts),) for provider in offered}
    try:
        return {provider.name: real_links(provider, environment, timeouts) for provider in offered}
    except ProviderError as error:
        raise SettingsError(str(error)) from None


def own_links(
    catalog: Catalog, settings: Settings, sim_port: int, environment: Mapping[str, str]
) -> dict[str, ProviderLink]:
    """The ways of callers who bring a provider's own key, by provider.

    Raises:
        SettingsError: an address cannot be used.
    """
    timeouts = _timeouts(settings)
    taking = [provider for provider in catalog.providers.values() if provider.passthrough and provider.spoken]
    try:
        links = {provider.name: own_link(provider, environment, timeouts, sim_port) for provider in taking}
    except ProviderError as error:
        raise SettingsError(str(error)) from None
    return {name: link for name, link in links.items() if link is not None}


def brought_keys(catalog: Catalog, links: Mapping[str, ProviderLink]) -> BroughtKeys | None:
    """What knows the keys that callers bring; None where no provider's are taken."""
    taking = {name: (catalog.providers[name], link) for name, link in links.items() if name in catalog.providers}
    return BroughtKeys(taking) if taking else None


def _example(snapshot: Snapshot) -> tuple[str, str]:
    """(a model name that a small prompt can be sent to, why it is not ``auto``)."""
    why = _obstacle(snapshot, AUTO)
    if not why:
        return AUTO, ""
    names = [name for option in snapshot.offered for name in (option.model, option.entry)]
    served = next((name for name in names if not _obstacle(snapshot, name)), AUTO)
    return served, f"`auto` cannot serve a plain chat here. {why}"


def _obstacle(snapshot: Snapshot, model: str) -> str:
    facts = Facts(
        endpoint="chat", needs=int(Needs.CHAT), tokens=exactly(10), asked_model=model, path=INBOUND["chat"].path
    )
    try:
        route = snapshot.route(facts, Wish())
    except RouterError as error:
        return error.message
    return "" if decide(route.plan, facts, route.baseline) else refusal(route.plan, facts).message
