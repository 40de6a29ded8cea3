"""What stands in deploy/ and the Dockerfile: it names what exists, and is what its readers take."""

from __future__ import annotations

import json
import re
import tomllib

import kubernetes_validate
import pytest
import yaml
from commands import ROOT

from router.adapters.fleet.metrics import exposed
from router.adapters.policies.files import load_policies
from router.settings import Settings, read_settings

DEPLOY = ROOT / "deploy"
DASHBOARDS = sorted(DEPLOY.glob("grafana/*.json"))
ALERTS = sorted(DEPLOY.glob("prometheus/alerts*.yaml"))
MANIFESTS = [
    (path.name, document)
    for path in sorted(DEPLOY.glob("kubernetes/*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
OF_PROMETHEUS = {"up": frozenset({"job", "instance"})}
NEWEST = max(
    kubernetes_validate.__dict__.get("SUPPORTED_VERSIONS", ["1.33.0"]), key=lambda v: [*map(int, v.split(".")[:2])]
)


def queries():
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]
    for path in ALERTS:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield f"{path.name}: {rule['alert']}", rule["expr"]


QUERIES = list(queries())


def metrics_in(query):
    """Each metric that a query names, with the labels that it selects by."""
    for name, labels in re.findall(r"\b(up|(?:costrouter|gen_ai)_[a-z_]+)\b(?!\s*[,)=!~])?(?:\{([^}]*)\})?", query):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))


def grouped_by(query):
    return {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", query) for label in labels.split(",")}


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_a_query_names_metrics_and_labels_that_exist(where, query):
    known = exposed() | OF_PROMETHEUS
    labels_of_all = set().union(*known.values())
    text = re.sub(r"by \([^)]*\)", "", query)
    found = list(metrics_in(text))
    assert found, where
    for name, labels in found:
        assert name in known, f"{where} names {name}, which /metrics does not give"
        assert labels <= known[name], f"{where} selects {name} by {labels - known[name]}"
    assert grouped_by(query) <= labels_of_all
    for name, _ in found:
        assert grouped_by(query) <= known[name]
    assert query.count("(") == query.count(")")


def test_a_metric_that_does_not_exist_would_be_found():
    assert list(metrics_in('sum(rate(costrouter_spent_total{mdl="x"}[5m]))')) == [("costrouter_spent_total", {"mdl"})]
    assert "costrouter_spent_total" not in exposed()


def test_every_metric_is_on_the_dashboard():
    shown = " ".join(query for where, query in QUERIES if ".json" in where)
    missing = [name for name in exposed() if name not in shown and not name.endswith(("_count", "_sum"))]
    assert missing == []


def test_every_alert_says_what_to_do():
    for path in ALERTS:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                assert rule["annotations"].keys() == {"summary", "runbook"}
                assert rule["labels"]["severity"] in ("page", "ticket")


@pytest.mark.parametrize(("name", "document"), MANIFESTS, ids=[f"{n}: {d['kind']}" for n, d in MANIFESTS])
def test_a_manifest_is_one_for_kubernetes(name, document):
    kubernetes_validate.validate(document, NEWEST, strict=True)


def test_a_manifest_with_a_mistake_would_be_found():
    broken = json.loads(json.dumps(next(d for _, d in MANIFESTS if d["kind"] == "Deployment")))
    broken["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(Exception, match="livenesProbe"):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


def of_kind(kind):
    (found,) = [document for _, document in MANIFESTS if document["kind"] == kind]
    return found


def test_the_manifests_fit_each_other():
    pod = of_kind("Deployment")["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert of_kind("Service")["spec"]["selector"].items() <= labels.items()
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert (
        of_kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
        == of_kind("Deployment")["metadata"]["name"]
    )
    (container,) = pod["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": of_kind("Secret")["metadata"]["name"]}}]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert volumes["policies"]["configMap"]["name"] == of_kind("ConfigMap")["metadata"]["name"]
    settings = read_settings({one["name"]: one["value"] for one in container["env"]} | of_kind("Secret")["stringData"])
    assert pod["spec"]["terminationGracePeriodSeconds"] > settings.linger_s + settings.drain_s + 15
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    # What lies in a pod is lost with it, and another pod cannot read it.
    assert settings.archives
    assert {place.partition(":")[0] for place in (settings.archive_place, settings.blobs_place)} == {"s3"}
    assert settings.blob_secret is not None


def test_the_config_maps_policies_load_without_a_warning(tmp_path):
    for name, text in of_kind("ConfigMap")["data"].items():
        (tmp_path / name).write_text(text)
    loaded = load_policies(tmp_path)
    assert loaded.warnings == ()
    assert list(loaded.policies) == ["default"]


def test_compose_names_settings_and_files_that_exist():
    folder = DEPLOY / "compose"
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    services = compose["services"]
    names = {name for name in services["costrouter"]["environment"] if name.startswith("COSTROUTER_")}
    assert names <= {f"COSTROUTER_{field.upper()}" for field in Settings.model_fields}
    kept = services["costrouter"]["environment"]["COSTROUTER_ARCHIVE"]
    assert kept.startswith("/var/lib/costrouter/"), "closed hours belong on the volume"
    volumes = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert not [v for v in volumes if v.startswith(".") and not (folder / v).exists()]
    assert {v for v in volumes if not v.startswith(".")} == set(compose["volumes"])
    assert {"valkey", "prometheus", "grafana"} < set(services)
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    assert [path.name for path in ALERTS] == config["rule_files"]


def test_the_image_is_built_of_what_is_there_and_runs_as_nobody_special():
    text = (ROOT / "Dockerfile").read_text()
    stages = text.split("\nFROM ")
    assert len(stages) == 3  # what stands before the first, and two
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (ROOT / name).exists(), name
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert {
        name.partition("/")[0]
        for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
        for name in source.split()
    } <= kept
    last = stages[-1]
    assert re.search(r"^USER 10001", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "pip install" not in last
    names = set(re.findall(r"COSTROUTER_([A-Z_]+)=", last))
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def pins(name):
    """Each distribution of a file of requirements, to its version and its count of hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.findall(r"^([a-z0-9-]+)==([^ ]+)(.*?)(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)
    return {found: (version, rest.count("--hash=sha256:")) for found, version, rest in blocks}


def test_the_image_has_what_archives_and_traces_at_the_versions_that_are_tested():
    text = (ROOT / "Dockerfile").read_text()
    assert "ARG REQUIREMENTS=image" in text
    assert "--require-hashes -r requirements/${REQUIREMENTS}.txt" in text
    image, run, dev = pins("image"), pins("run"), pins("dev")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.match(r"[a-z-]+", one)[0] for name in ("finance", "otel", "build") for one in extras[name]}
    assert wanted | run.keys() <= image.keys()
    assert {name: image[name] for name in run} == run
    assert {name: dev[name][0] for name in image} == {name: version for name, (version, _) in image.items()}
    assert all(hashes for _, hashes in image.values())
