import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from saint.report._growth_curve import curve_pictures, curve_rows
from saint.report._marks import mark_tables
from saint.report._spelling import spell
from saint.report._svg import Point, Row, Series, chart, forest, places
from saint.report._text import (
    ARM_LABELS,
    CHANGED_SINCE,
    arm_tokens,
    given_to_controls,
    no_controls,
    tokens_of,
    trained_elsewhere,
)
from saint.report._work import work_lines

_CSS = {
    "stands": "stands",
    "rejected": "rejected",
    "deferred": "deferred",
    "waits for approval": "deferred",
    "rolled back": "rolled",
}


def to_html(summary: Mapping[str, Any], *, refresh_s: int | None = None) -> str:
    """One self-contained page: no script, no network, light and dark.

    Args:
        refresh_s: Seconds after which a browser reads it again, for a page that is written anew; never when left out.
    """
    environment = Environment(loader=PackageLoader("saint.report", "."), autoescape=True, undefined=StrictUndefined)
    result = summary["result"]
    arms = result["arms"] if result else []
    return environment.get_template("_page.html.j2").render(
        s=summary,
        refresh_s=refresh_s,
        headline=arms[0] if arms else None,
        domains=list(dict.fromkeys(domain for arm in arms for domain in arm["regression_bpb"])),
        labels={arm["name"]: ARM_LABELS.get(arm["name"], arm["name"]) for arm in arms},
        interval=spell,
        css=_CSS,
        marks=mark_tables,
        changed_since=CHANGED_SINCE,
        no_controls=no_controls(summary),
        given=given_to_controls(result) if result else "",
        arm_tokens=arm_tokens,
        tokens_of=tokens_of,
        trained_elsewhere=trained_elsewhere(summary),
        work=work_lines(summary["work"]),
        growth_curve=curve_rows(summary["growth_curve"]),
        axes=[Markup(svg) for svg in curve_pictures(summary["growth_curve"])],  # noqa: S704 - escaped in _svg
        limit=_limit(summary, "retention", "at_most_bpb"),
        plan_text=json.dumps(summary["plan"], indent=2),
        pictures={name: Markup(svg) for name, svg in _pictures(summary, arms).items()},  # noqa: S704 - escaped in _svg
    )


def _pictures(summary: Mapping[str, Any], arms: list[dict[str, Any]]) -> dict[str, str]:
    judged = summary["judged"]
    return {
        "tradeoff": _tradeoff(arms),
        "curve": _curve(summary["curve"]),
        "places": _places(summary),
        "gains": forest(
            [
                _row(f"{n}. {g['kind']}, {g['where']}", g["gain_bpb"], g["status"])
                for n, g in enumerate(judged, start=1)
            ],
            x_label="bits per byte saved on development text against the stack of the time",
            limits=_limits(summary, "gain", "at_least_bpb", "asked by the policy"),
        )
        if judged
        else "",
        "retention": _retention(summary),
    }


def _tradeoff(arms: list[dict[str, Any]]) -> str:
    series = []
    for arm in arms:
        losses = [loss["estimate"] for loss in arm["regression_bpb"].values()]
        if losses:
            gain = arm["gain_bpb"]
            label = f"gain {spell(gain)}, {arm['num_params']:,} parameters"
            point = Point(max(losses), gain["estimate"], label, gain["low"], gain["high"])
            series.append(Series(ARM_LABELS.get(arm["name"], arm["name"]), [point]))
    if not series:
        return ""
    return chart(series, x_label="bits per byte lost on the worst retained domain", y_label="bits per byte saved")


def _curve(rounds: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(arm["name"] for one in rounds for arm in one["arms"]))
    series = []
    for name in names:
        points = [Point(0, 0, "the bare base")]
        for one in rounds:
            for arm in one["arms"]:
                if arm["name"] == name:
                    gain = arm["gain_bpb"]
                    label = f"round {one['round'] + 1}, {spell(gain)}, {arm['num_params']:,} parameters"
                    points.append(Point(arm["train_tokens"], gain["estimate"], label, gain["low"], gain["high"]))
        series.append(Series(ARM_LABELS.get(name, name), points))
    return chart(series, x_label="tokens learnt from", y_label="bits per byte saved") if series else ""


def _places(summary: Mapping[str, Any]) -> str:
    sites, sensitivity = summary["base"].get("sites"), summary["sensitivity"]
    return places(sites, sensitivity["scores"], summary["judged"]) if sites and sensitivity else ""


def _retention(summary: Mapping[str, Any]) -> str:
    rows = [
        _row(f"{n}. {graft['kind']}: {suite}", drift, graft["status"])
        for n, graft in enumerate(summary["judged"], start=1)
        for suite, drift in graft["drift_bpb"].items()
    ]
    label = "bits per byte lost on the gates' text against the bare base"
    limits = _limits(summary, "retention", "at_most_bpb", "allowed by the policy")
    return forest(rows, x_label=label, limits=limits) if rows else ""


def _row(label: str, interval: Mapping[str, Any], status: str) -> Row:
    return Row(label, interval["estimate"], interval["low"], interval["high"], _CSS[status])


def _limit(summary: Mapping[str, Any], gate: str, setting: str) -> float | None:
    limit = summary["plan"].get("gates", {}).get(gate, {}).get(setting)
    return None if limit is None else float(limit)


def _limits(summary: Mapping[str, Any], gate: str, setting: str, label: str) -> list[tuple[float, str]]:
    limit = _limit(summary, gate, setting)
    return [] if limit is None else [(limit, f"{limit:+g} {label}")]
