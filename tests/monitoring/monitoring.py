# SPDX-License-Identifier: Apache-2.0
"""What the folder monitoring has, and what docs/monitoring.md says of it.

    monitoring.py     prints every expression of the dashboards as a file of rules, for promtool
"""
import json
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "monitoring"
PAGE = ROOT / "docs" / "monitoring.md"
RULES = FOLDER / "prometheus" / "tutti.rules.yml"
PROCESS_LABELS = {"role", "rank", "host"}


class Metric(NamedTuple):
    """A row of the table in docs/monitoring.md."""
    type: str
    labels: frozenset
    words: tuple  # in backticks in its meaning


def documented(page=None):
    """The metrics of the table, by name."""
    text = PAGE.read_text() if page is None else page
    metrics = {}
    for row in text.split("<!-- metrics -->\n", 1)[1].split("\n\n", 1)[0].splitlines()[2:]:
        name, kind, labels, _, meaning = (cell.strip() for cell in row.strip("|").split(" |"))
        own = set(re.findall(r"`(\w+)`", labels)) | (PROCESS_LABELS if "process" in labels else set())
        metrics[name.strip("`")] = Metric(kind, frozenset(own), tuple(re.findall(r"`(\w+)`", meaning)))
    return metrics


def named_in(text, metrics):
    """The metrics of the table that `text` names, and what it names that is in no row. A histogram's series are its own."""
    known, unknown = set(), set()
    for name in re.findall(r"\btutti_\w+", text):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        histogram = base in metrics and metrics[base].type == "histogram"
        if histogram and base != name:
            known.add(base)
        elif name in metrics and not histogram:
            known.add(name)
        else:
            unknown.add(name)
    return known, unknown


def dashboards():
    return {path.name: json.loads(path.read_text()) for path in sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))}


def panels(dashboard):
    """All panels; those of a row that is folded are inside it."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def expressions(dashboard):
    """(where, expression) of each panel's targets and of each annotation."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield f"panel '{panel['title']}' {target['refId']}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        if not annotation.get("builtIn"):
            yield f"annotation '{annotation['name']}'", annotation["expr"]


def variables(dashboard):
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def substituted(expression, interval):
    """As Grafana asks Prometheus where All is chosen of every variable."""
    expression = expression.replace("$__rate_interval", interval).replace("$__interval", interval)
    expression = re.sub(r"\$\w+", ".*", expression)
    assert "$" not in expression, expression
    return expression


def as_rules():
    asked = {substituted(expression, "5s") for dashboard in dashboards().values() for _, expression in expressions(dashboard)}
    rules = [{"record": f"asked:{number}", "expr": expression} for number, expression in enumerate(sorted(asked))]
    return json.dumps({"groups": [{"name": "asked", "rules": rules}]})  # JSON is YAML


if __name__ == "__main__":
    print(as_rules())
