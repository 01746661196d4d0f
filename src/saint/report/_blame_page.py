"""Which graft changed what, as a page."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from saint.report._blame import (
    SHARE_HEADS,
    blame_lines,
    document_rows,
    pair_rows,
    reading_lines,
    share_rows,
    suite_title,
)
from saint.report._blame_picture import blame_picture


def blame_html(record: Mapping[str, Any]) -> str:
    """One self-contained page: no script, no network, light and dark."""
    environment = Environment(loader=PackageLoader("saint.report", "."), autoescape=True, undefined=StrictUndefined)
    picture = blame_picture(record)
    return environment.get_template("_blame.html.j2").render(
        registry=record["registry"],
        lines=blame_lines(record),
        reading=reading_lines(record),
        picture=Markup(picture.svg),  # noqa: S704 - escaped in _blame_picture
        legend=picture.legend,
        heads=SHARE_HEADS,
        suites=[(suite_title(record, suite), [*share_rows(record, suite)]) for suite in record["suites"]],
        pairs=[*pair_rows(record)],
        documents=[*document_rows(record)],
    )
