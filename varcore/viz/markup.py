"""HTML pieces of the report.  Every text that goes in is escaped here; nothing else makes markup out of data."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go


@dataclass(frozen=True)
class Html:
    """Markup that is ready; plain strings are text and get escaped."""

    source: str


def escape(text: str | Html) -> str:
    return text.source if isinstance(text, Html) else html.escape(text)


def paragraph(text: str | Html, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def code(text: str) -> Html:
    return Html(f"<code>{html.escape(text)}</code>")


def strong(text: str) -> Html:
    return Html(f"<strong>{html.escape(text)}</strong>")


def section(name: str, title: str, *parts: str) -> str:
    head = f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{escape(title)}</h2>'
    return f"{head}{''.join(parts)}</section>"


def details(summary: str, *parts: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def table(
    caption: str, header: Sequence[str | Html], rows: Sequence[Sequence[str | Html]], *, words: Sequence[int] = ()
) -> str:
    """A table with a caption.  The first column holds the rows' names; columns in `words` hold text, others numbers."""
    kinds = [' class="words"' if index in {0, *words} else ' class="number"' for index in range(len(header))]
    head = "".join(f'<th scope="col"{kind}>{escape(cell)}</th>' for kind, cell in zip(kinds, header, strict=True))
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds[1:], row[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    region = f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(caption)}">'
    table_ = f"<caption><span>{escape(caption)}</span></caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f"{region}<table>{table_}</table></div>"


def figure(wide: go.Figure, narrow: go.Figure | None = None) -> str:
    """A place for a figure and its data; the script draws the shape that fits.  The texts become HTML."""
    layout: Any = wide.layout
    shapes = {"wide": wide, **({"narrow": narrow} if narrow else {})}
    data = "".join(
        f'<script type="application/json" data-shape="{name}">{safe_json(_undressed(shape))}</script>'
        for name, shape in shapes.items()
    )
    texts = {name: escape(layout.meta[name]) for name in ("title", "caption", "alt")}
    plot = f'<div class="plot" role="img" aria-label="{texts["alt"]}"></div>'
    return f"<figure><h3>{texts['title']}</h3>{plot}{data}<figcaption>{texts['caption']}</figcaption></figure>"


def safe_json(value: Any) -> str:
    """JSON that may stand in a script element: no ``<``, ``>`` or ``&`` occurs in it.  NaN and infinities are null."""
    text = json.dumps(_finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value: int | float | None, digits: int = 3) -> str:
    """A number for a table: ``1,234``, ``0.0123``; a dash for what is missing or not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def scientific(value: int | float) -> str | Html:
    """1.23 × 10¹²"""
    if not value:
        return "0"
    mantissa, power = f"{value:.2e}".split("e")
    return Html(f"{mantissa} × 10<sup>{int(power)}</sup>") if int(power) else mantissa


def percent(cell: dict[str, float], *, signed: bool = False) -> str:
    """``43.1 (40.2 to 46.0)`` from shares with an interval."""
    sign = "+" if signed else ""
    mean, low, high = (f"{100 * cell[name]:{sign}.1f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})".replace("-", "−")


def _undressed(shape: go.Figure) -> dict[str, Any]:
    """A figure's data without title and caption, which stand beside it on the page, and without their room."""
    content = shape.to_plotly_json()
    layout, room = content["layout"], shape.layout.meta["heading_room"]  # type: ignore[attr-defined]
    layout["height"] -= room
    layout["margin"] = {**layout["margin"], "t": layout["margin"]["t"] - room}
    return {
        "data": content["data"],
        "layout": {k: v for k, v in layout.items() if k not in ("title", "meta", "template")},
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
