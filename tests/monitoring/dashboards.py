# SPDX-License-Identifier: Apache-2.0
"""What has to be true of a dashboard, so that Grafana shows it. There is no Grafana in the tests."""
import re

import monitoring

COLUMNS = 24
OLDEST_SCHEMA = 38  # Grafana 10
OWN_VARIABLES = {"__rate_interval", "__interval", "__range"}
# What panels that show numbers may count in; "suffix:" begins a unit of one's own.
UNITS = {"none", "s", "bytes", "Bps", "ops", "percentunit"}
KINDS = {"stat", "timeseries", "heatmap", "table"}


def overlap(one, other):
    return (one["x"] < other["x"] + other["w"] and other["x"] < one["x"] + one["w"] and
            one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"])


def about_fields(dashboard):
    for field in ("title", "uid", "schemaVersion", "panels", "templating", "time", "annotations", "tags"):
        if not dashboard.get(field):
            yield f"has no {field}"
    if dashboard.get("schemaVersion", 0) < OLDEST_SCHEMA:
        yield f"has schemaVersion {dashboard.get('schemaVersion')}, expected {OLDEST_SCHEMA} or newer"
    if dashboard.get("id") is not None:
        yield "has the id of one Grafana's database"


def about_layout(dashboard):
    seen = []
    for panel in monitoring.panels(dashboard):
        place = panel["gridPos"]
        if place["x"] < 0 or place["w"] < 1 or place["x"] + place["w"] > COLUMNS or place["h"] < 1:
            yield f"panel '{panel['title']}' lies outside of the {COLUMNS} columns"
        for other in seen:
            if other["id"] == panel["id"]:
                yield f"panels '{other['title']}' and '{panel['title']}' have the same id"
            if overlap(other["gridPos"], place):
                yield f"panels '{other['title']}' and '{panel['title']}' overlap"
        seen.append(panel)


def about_source(dashboard, where, source):
    name = re.fullmatch(r"\$\{(\w+)\}", (source or {}).get("uid", ""))
    variable = name and monitoring.variables(dashboard).get(name[1])
    if not variable or variable["type"] != "datasource" or source.get("type") != variable["query"]:
        yield f"{where} takes its data from {source}, which is no variable of the dashboard"


def about_panel(dashboard, panel):
    where = f"panel '{panel['title']}'"
    if panel["type"] not in KINDS:
        yield f"{where} is a {panel['type']}"
    if not panel.get("description"):
        yield f"{where} has no description"
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    if unit not in UNITS and not unit.startswith("suffix:"):
        yield f"{where} has the unit '{unit}'"
    yield from about_source(dashboard, where, panel.get("datasource"))
    if not panel.get("targets"):
        yield f"{where} asks for nothing"
    letters = [target.get("refId") for target in panel.get("targets", [])]
    if len(set(letters)) < len(letters) or not all(letters):
        yield f"{where} has the refIds {letters}"
    for target in panel.get("targets", []):
        if not target.get("expr"):
            yield f"{where} {target.get('refId')} has no expr"
        yield from about_source(dashboard, f"{where} {target.get('refId')}", target.get("datasource"))


def about_variables(dashboard):
    variables = monitoring.variables(dashboard)
    asked = [(where, expression) for where, expression in monitoring.expressions(dashboard)]
    for at, (name, variable) in enumerate(variables.items()):
        if variable["type"] == "query":
            earlier = set(list(variables)[:at])
            for used in set(re.findall(r"\$(\w+)", variable["query"])) - earlier:
                yield f"variable '{name}' uses ${used}, which does not come before it"
            yield from about_source(dashboard, f"variable '{name}'", variable.get("datasource"))
            if not any(re.search(rf"\${name}\b", text) for _, text in asked):
                yield f"variable '{name}' changes nothing"
    for where, expression in asked:
        for used in set(re.findall(r"\$\{?(\w+)", expression)) - set(variables) - OWN_VARIABLES:
            yield f"{where} uses ${used}, which is no variable of the dashboard"


def about_metrics(dashboard, metrics):
    for where, expression in monitoring.expressions(dashboard):
        for name in monitoring.named_in(expression, metrics)[1]:
            yield f"{where} asks for {name}, which docs/monitoring.md does not have"


def about_legends(dashboard):
    """A legend shows labels that its expression keeps: a sum keeps those that it is by."""
    for panel in monitoring.panels(dashboard):
        for target in panel.get("targets", []):
            kept = re.match(r"(?:histogram_quantile\([\d.]+, )?\w+ by \(([^)]*)\)", target["expr"])
            for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")) if kept else []:
                if label not in kept[1].split(", "):
                    yield f"panel '{panel['title']}' {target['refId']} shows {label}, which its sum drops"


def complaints(dashboard, metrics):
    found = list(about_fields(dashboard))
    found += about_layout(dashboard)
    for panel in monitoring.panels(dashboard):
        if panel["type"] != "row":
            found += about_panel(dashboard, panel)
    for annotation in dashboard["annotations"]["list"]:
        if not annotation.get("builtIn"):
            found += about_source(dashboard, f"annotation '{annotation['name']}'", annotation.get("datasource"))
    found += about_variables(dashboard)
    found += about_metrics(dashboard, metrics)
    found += about_legends(dashboard)
    return found
