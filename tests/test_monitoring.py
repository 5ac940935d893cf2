"""Alerts, dashboard and runbook speak of metrics that there are, and of each other."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.support.machine import tool
from workers.io.redis_link import RedisLink
from workers.metrics_page import MetricsPage
from workers.settings import Settings
from workers.store.catalog import Catalog, Published
from workers.telemetry.counters import Counter, Histogram
from workers.telemetry.metrics import ALL
from workers.telemetry.publishing import Publisher

DOCS = Path(__file__).resolve().parent.parent / "docs"
MONITORING = DOCS / "monitoring"
ALERTS = MONITORING / "alerts.yml"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "shelfline.json"


@pytest.fixture
def shown(link: RedisLink, settings: Settings) -> dict[str, set[str]]:
    """The samples of /metrics where everything was counted once, each with its labels."""
    for metric in ALL:
        labels = ["x" for _ in metric.labels]
        if isinstance(metric, Histogram):
            metric.observe(1, *labels)
        else:
            assert isinstance(metric, Counter)
            metric.add(*labels)
    Publisher(link.run).once()
    Catalog(link).publish(Published("default", "", 1))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MetricsPage(link, settings))
    samples = [sample for family in parse(generate_latest(registry).decode()) for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression, and where it stands; with its text for people, whose labels must be there too."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def test_every_metric_that_is_named_is_shown(shown: dict[str, set[str]]) -> None:
    """By alerts, dashboard and docs; and a label that a rule asks for is one of its metric."""
    pages = "\n".join(path.read_text() for path in DOCS.glob("*.md"))
    named = {("docs", name) for name in re.findall(r"`(shelfline_\w+)", pages)}
    named |= {(where, name) for where, text in expressions() for name in re.findall(r"shelfline_\w+", text)}
    families = shown.keys() | {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}

    assert named
    assert [metric for metric in sorted(named) if metric[1] not in families] == []
    for where, text in expressions():
        for name, matchers in re.findall(r"(shelfline_\w+)\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= shown[name], where


def test_what_is_grouped_by_is_a_label(shown: dict[str, set[str]]) -> None:
    """`sum by (lane)` of a metric without lanes would be one line without a name."""
    for where, text in expressions():
        for labels, inside in re.findall(r"by \(([\w, ]+)\) \((?:\w+\()?(shelfline_\w+)", text):
            assert set(re.split(r",\s*", labels)) <= shown[inside], where


def test_every_metric_is_documented(shown: dict[str, set[str]]) -> None:
    """With its name, or the end of it behind another's."""
    page = (DOCS / "monitoring.md").read_text()
    ends = {end for name in re.findall(r"`shelfline(_\w+)`", page) for end in [name]} | set(
        re.findall(r"`(_\w+)`", page)
    )
    families = {re.sub(r"_(bucket|sum|count)$", "", name).removeprefix("shelfline") for name in shown}

    assert sorted(family for family in families if family not in {*ends, "_info"}) == []


def test_every_alert_has_its_section() -> None:
    """In the order of the rules; no section is of an alert that is gone."""
    assert re.findall(r"^## (\w+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE) == [
        rule_["alert"] for rule_ in rules()
    ]


def test_prometheus_understands_the_rules() -> None:
    """And its configuration."""
    promtool = tool("promtool")
    for what, path in (("rules", ALERTS), ("config", MONITORING / "prometheus.yml")):
        options = ["--syntax-only"] if what == "config" else []
        done = subprocess.run([promtool, "check", what, *options, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_the_page(link: RedisLink, settings: Settings) -> None:
    """Its own linter finds nothing wrong with names, types and texts."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MetricsPage(link, settings))
    command = [tool("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=generate_latest(registry), capture_output=True, check=False)

    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_an_alert_fires_and_ends(tmp_path: Path) -> None:
    """Prometheus itself runs the rules on series made up for it."""
    series = {
        "up{job='shelfline'}": ("0x9", "ShelflineDown"),
        "shelfline_model_available{model='m'}": ("0x9", "ShelflineModelUnavailable"),
        "shelfline_oldest_waiting_seconds{model='m'}": ("0+60x9", "ShelflineImagesStuck"),
        "shelfline_oldest_waiting_seconds{model='busy'}": ("0+60x9", None),  # a long queue that moves
        "shelfline_batch_rows_count{model='busy'}": ("0+60x9", None),
        "shelfline_takeovers_total": ("0 0 3x7", "ShelflineTakeovers"),
        "shelfline_unattended_seconds{model='m'}": ("0 60 120x7", "ShelflineNotConsuming"),
        "shelfline_unattended_seconds{model='busy'}": ("0x9", None),
        "shelfline_overdue_images_total{stage='decode'}": ("0 0 3x7", "ShelflineImagesOverdue"),
        "shelfline_redis_durable": ("1x9", None),
        "shelfline_worker_seen": ("1x9", None),
    }
    ratio = "shelfline_redis_memory_bytes", "shelfline_redis_memory_limit_bytes"
    inputs = [{"series": name, "values": values} for name, (values, _) in series.items()]
    inputs += [{"series": name, "values": "0x9" if "limit" in name else "9e9x9"} for name in ratio]  # no maxmemory
    fired = {alert for _, alert in series.values() if alert}
    checks = []
    for rule in rules():
        labels = {"severity": rule["labels"]["severity"]}
        if rule["alert"] not in fired:
            checks.append({"eval_time": "9m", "alertname": rule["alert"], "exp_alerts": []})
            continue
        of = next(name for name, (_, alert) in series.items() if alert == rule["alert"])
        labels |= dict(re.findall(r"(\w+)='(\w+)'", of))
        checks.append({"eval_time": "9m", "alertname": rule["alert"], "exp_alerts": [{"exp_labels": labels}]})
    for check in checks:  # promtool wants the texts too
        for alert in check["exp_alerts"]:
            summary = next(rule_ for rule_ in rules() if rule_["alert"] == check["alertname"])["annotations"]["summary"]
            for name, value in alert["exp_labels"].items():
                summary = summary.replace("{{ $labels." + name + " }}", value)
            alert["exp_annotations"] = {"summary": summary}
    test = {
        "rule_files": [str(ALERTS)],
        "tests": [{"interval": "1m", "input_series": inputs, "alert_rule_test": checks}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [tool("promtool"), "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_containers_find_their_files() -> None:
    """What is mounted is there, Prometheus asks for what is mounted, with a key that no commit can hold."""
    root = DOCS.parent
    composed = yaml.safe_load((root / "docker-compose.monitoring.yml").read_text())
    mounted = [volume.split(":") for service in composed["services"].values() for volume in service["volumes"]]
    scraped = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    ((secret, kept),) = composed["secrets"].items()

    assert [source for source, *_ in mounted if source.startswith("./") and not (root / source).exists()] == []
    assert {f"/etc/prometheus/{name}" for name in ("prometheus.yml", *scraped["rule_files"])} <= {
        mount[1] for mount in mounted
    }
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert f"/{Path(kept['file']).name}" in (root / ".gitignore").read_text().splitlines()
    assert job["static_configs"] == [{"targets": ["web:5000"]}]
    assert all(re.search(r":v?\d+\.\d+\.\d+$", service["image"]) for service in composed["services"].values())
