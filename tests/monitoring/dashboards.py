"""Grafana's dashboards: their documented form, and the queries in them.

The schema is of the classic model, version 39, as far as these dashboards use it:
https://grafana.com/docs/grafana/v11.3/dashboards/build-dashboards/view-dashboard-json-model/
"""

import json
from collections.abc import Iterator

from data_prep.paths import ROOT

GRAFANA = ROOT / "triton" / "monitoring" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))


def thing(required: str = "", **properties) -> dict:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def several(items: dict) -> dict:
    return {"type": "array", "items": items}


TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
SOURCE = thing("type uid", type={"const": "prometheus"}, uid=TEXT)
TARGET = thing(
    "refId datasource expr",
    refId={"type": "string", "pattern": "^[A-Z]$"},
    datasource=SOURCE,
    expr={"type": "string", "minLength": 1},
    legendFormat=TEXT,
    instant=FLAG,
    range=FLAG,
    format={"enum": ["time_series", "table", "heatmap"]},
)
STEP = thing("color value", color=TEXT, value={"type": ["number", "null"]})
DEFAULTS = thing(
    "unit",
    unit={"enum": ["short", "s", "reqps", "percentunit"]},
    min=NUMBER,
    max=NUMBER,
    mappings=several(thing("type options", type={"const": "value"}, options={})),
    thresholds=thing(
        "mode steps", mode={"enum": ["absolute", "percentage"]}, steps=several(STEP)
    ),
)
OVERRIDE = thing(
    "matcher properties",
    matcher=thing("id options", id=TEXT, options={}),
    properties=several(thing("id value", id=TEXT, value={})),
)
PANEL = thing(
    "id type title gridPos targets fieldConfig datasource",
    id={"type": "integer", "minimum": 1},
    type={"enum": ["timeseries", "stat", "table", "bargauge"]},
    title={"type": "string", "minLength": 3},
    description=TEXT,
    datasource=SOURCE,
    gridPos=thing("x y w h", x=COUNT, y=COUNT, w=COUNT, h=COUNT),
    targets={**several(TARGET), "minItems": 1},
    fieldConfig=thing(
        "defaults overrides", defaults=DEFAULTS, overrides=several(OVERRIDE)
    ),
    options={"type": "object"},
)
VARIABLE = {
    "type": "object",
    "required": ["name", "type", "query"],
    "properties": {"type": {"enum": ["query", "textbox", "custom", "constant"]}},
}
LINK = {
    "type": "object",
    "required": ["title", "type", "tags", "url"],
    "properties": {"type": {"enum": ["link", "dashboards"]}},
}
ANNOTATION = thing(
    "name enable iconColor datasource expr",
    name=TEXT,
    enable=FLAG,
    hide=FLAG,
    iconColor=TEXT,
    datasource=SOURCE,
    expr=TEXT,
    titleFormat=TEXT,
)
SCHEMA = thing(
    "uid title schemaVersion panels time templating annotations tags",
    uid={"type": "string", "pattern": "^[a-z-]{1,40}$"},
    title=TEXT,
    description=TEXT,
    tags=several(TEXT),
    schemaVersion={"const": 39},
    version=COUNT,
    editable=FLAG,
    timezone={"enum": ["browser", "utc", ""]},
    time=thing("from to", **{"from": TEXT, "to": TEXT}),
    refresh=TEXT,
    graphTooltip={"enum": [0, 1, 2]},
    annotations=thing("list", list=several(ANNOTATION)),
    templating=thing("list", list=several(VARIABLE)),
    links=several(LINK),
    panels=several(PANEL),
)


def expressions() -> Iterator[str]:
    """All queries, with Grafana's variables as it would fill them in."""
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        queries = [note["expr"] for note in dashboard["annotations"]["list"]]
        for panel in dashboard["panels"]:
            queries += [target["expr"] for target in panel["targets"]]
        for query in queries:
            yield query.replace("$__rate_interval", "20s").replace("$model", ".*")
