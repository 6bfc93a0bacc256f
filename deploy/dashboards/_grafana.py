"""Makes a dashboard of Grafana from rows, with Grafana's own library."""

from __future__ import annotations

import json
from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import heatmap, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy._address import DOCS
from deploy.dashboards._parts import Kind, Panel, Query, Row

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

AnyPanel = timeseries.Panel | heatmap.Panel | stat.Panel | statetimeline.Panel | table.Panel

HEIGHTS = {Kind.NUMBER: 4, Kind.TABLE: 5}
READY = {
    "0": ValueMappingResult(text="not ready", color="red", index=0),
    "1": ValueMappingResult(text="ready", color="green", index=1),
}


def dashboard_of(rows: Sequence[Row], docs: str = DOCS) -> str:
    """The dashboard as JSON, to be imported or provisioned; `docs` is where its links lead."""
    made = (
        build.Dashboard("rpcb_trio: why did latency go up?")
        .uid("rpcb-trio")
        .description("Workers, batches, gateway and queues, from the symptom down to the cause.")
        .tags(["rpcb_trio"])
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(build.DashboardLink("Runbook").url("${docs}/operating/runbook.html").target_blank(True))
    )
    for variable in _variables(docs):
        made = made.with_variable(variable)
    for row in rows:
        made = made.with_row(build.Row(row.title)).with_panel(_words(row))
        for panel in row.panels:
            made = made.with_panel(_panel(panel))
    built = made.build()
    for number, each in enumerate(built.panels or [], start=1):
        each.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _variables(docs: str) -> list[build.DatasourceVariable | build.QueryVariable | build.ConstantVariable]:
    return [
        build.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _labels("queue", "rpcb_session_up").label("Queue"),
        _labels("instance", "rpcb_build_info").label("Instance"),
        build.ConstantVariable("docs").label("Address of the documentation").value(docs),
    ]


def _labels(label: str, series: str) -> build.QueryVariable:
    """A choice among the values of a label, at first all of them."""
    return (
        build.QueryVariable(label)
        .query({"query": f"label_values({series}, {label})", "refId": "StandardVariableQuery"})
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(VariableOption(text="All", value="$__all", selected=True))
    )


def _words(row: Row) -> text.Panel:
    content = f"{row.text} [More in the documentation.](${{docs}}/{row.page})"
    return text.Panel().content(content).transparent(True).height(2).span(24)


def _panel(panel: Panel) -> AnyPanel:
    made = _of_kind(panel)
    made.title(panel.title).description(panel.description).datasource(SOURCE).unit(panel.unit)
    made.height(HEIGHTS.get(panel.kind, 8)).span(panel.columns)
    for letter, query in zip("ABC", panel.queries, strict=False):
        made.with_target(_target(panel.kind, query).ref_id(letter).datasource(SOURCE))
    return made


def _target(kind: Kind, query: Query) -> Dataquery:
    made = Dataquery().expr(query.expr).legend_format(query.legend)
    match kind:
        case Kind.HEAT:
            return made.range().format(PromQueryFormat.HEATMAP)
        case Kind.TABLE:
            return made.instant().format(PromQueryFormat.TABLE)
        case Kind.NUMBER:
            return made.instant()
        case _:
            return made.range()


def _of_kind(panel: Panel) -> AnyPanel:
    match panel.kind:
        case Kind.NUMBER:
            reduced = ReduceDataOptions().calcs(["lastNotNull"])
            return (
                stat.Panel()
                .reduce_options(reduced)
                .color_mode(BigValueColorMode.NONE)
                .graph_mode(BigValueGraphMode.NONE)
            )
        case Kind.HEAT:
            colours = (
                heatmap.HeatmapColorOptions()
                .mode(HeatmapColorMode.SCHEME)
                .scheme("Oranges")
                .exponent(0.5)
                .steps(64)
            )
            made = heatmap.Panel().calculate(False).show_value(VisibilityMode.NEVER).color(colours)
            return made.y_axis(heatmap.YAxisConfig().unit(panel.unit))
        case Kind.STATES:
            return statetimeline.Panel().mappings([_ready()]).show_value(VisibilityMode.NEVER)
        case Kind.TABLE:
            without_time = {"excludeByName": {"Time": True}, "renameByName": {"Value": "count"}}
            return table.Panel().with_transformation(
                DataTransformerConfig(id_val="organize", options=without_time)
            )
        case Kind.LINES | Kind.STACK:
            return _lines(panel)


def _lines(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .min(0)
        .fill_opacity(10)
        .legend(
            VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if panel.kind is Kind.STACK:
        made = made.stacking(StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
    return made


def _ready() -> ValueMapping:
    return ValueMap(options=READY)
