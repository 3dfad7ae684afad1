"""HTML of the standard library alone: elements, tables, figures, and the page around them.

Whatever is not `Markup` is escaped, so text from a user stays text wherever it is put.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from string import Template
from typing import Any

from PIL import Image, UnidentifiedImageError

# The policy forbids the page every request, whatever it is made to hold.
_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
$body
</body>
</html>
""")

_STYLE = """
:root { --text: #1b1f24; --soft: #57606a; --line: #d0d7de; --back: #ffffff; --band: #f6f8fa;
  --good: #1a7f37; --bad: #9a4a00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --soft: #9aa4af; --line: #30363d; --back: #0d1117; --band: #161b22;
    --good: #4ac26b; --bad: #f0a35e; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; background: var(--back);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line);
  font-size: 1.25rem; }
p { margin: .5rem 0; }
.soft, caption, figcaption { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0 0 1.25rem;
  font-variant-numeric: tabular-nums; }
caption { padding: 0 0 .4rem; text-align: left; font-size: .9rem; }
caption span { display: inline-block; max-width: calc(100vw - 2rem); }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
thead th { background: var(--band); font-size: .85rem; }
tbody th { font-weight: 600; }
.number { text-align: right; white-space: nowrap; }
th small, td small { display: block; color: var(--soft); font-weight: 400; white-space: normal; }
.sentence td { padding-bottom: 1.1rem; font-size: .9rem; color: var(--soft); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.facts th { width: 10rem; font-weight: 400; color: var(--soft); }
.facts td { overflow-wrap: anywhere; }
.columns { columns: 21rem 2; column-gap: 2rem; }
.columns > * { break-inside: avoid; }
.config { columns: 17rem; column-gap: 2rem; margin: 0 0 1.25rem; padding: 0; list-style: none;
  font: .85rem/1.6 ui-monospace, monospace; }
.config li { break-inside: avoid; overflow-wrap: anywhere; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr));
  gap: 0 2rem; align-items: start; }
figure { margin: 0 0 1.25rem; }
img { display: block; max-width: 100%; height: auto; padding: .5rem; background: #ffffff;
  border: 1px solid var(--line); border-radius: 6px; }
.wide img { max-width: none; width: 100%; min-width: 44rem; }
.pixels img { image-rendering: pixelated; }
.scroll.pixels img { max-width: none; }
figcaption { margin-top: .4rem; font-size: .9rem; }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  th, td { padding: .3rem .35rem; }
}
@media print {
  :root { --text: #000; --soft: #333; --line: #bbb; --back: #fff; --band: #eee; --good: #060;
    --bad: #630; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2 { break-after: avoid; }
  figure, tr, caption { break-inside: avoid; }
  .scroll { overflow: visible; }
  .wide img { min-width: 0; }
}
"""

_NARROW = 480  # pixels of a picture that may become smaller on a small screen
_VOID = ("br", "img")  # elements that have no inside and no end tag


class Markup(str):
    """HTML as it is; every other string is text."""


def element(tag: str, *children: Any, class_: str = "", **attributes: Any) -> Markup:
    """An element with its children, each escaped unless it is `Markup`.

    Args:
        tag: its name.
        *children: what is inside.
        class_: the class, if not empty.
        **attributes: others; their values are escaped.
    """
    if class_:
        attributes["class"] = class_
    opening = tag + "".join(f' {name}="{html.escape(str(v))}"' for name, v in attributes.items())
    if tag in _VOID:
        return Markup(f"<{opening}>")
    return Markup(f"<{opening}>{join(children)}</{tag}>\n")


def join(parts: Iterable[Any]) -> Markup:
    """Parts one after the other, each escaped unless it is `Markup`."""
    return Markup(
        "".join(part if isinstance(part, Markup) else html.escape(str(part)) for part in parts)
    )


def number(value: float) -> str:
    """Three significant digits, or all that stand before the point."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"
    return text.removesuffix(".")


def row(cells: Sequence[Any]) -> Markup:
    """A row of a table: the first cell is its heading, the others are numbers, right-aligned."""
    heading, *numbers = cells
    others = (element("td", number, class_="number") for number in numbers)
    return element("tr", element("th", heading, scope="row"), *others)


def table(caption: str, header: Sequence[Any], bodies: Sequence[Sequence[Markup]]) -> Markup:
    """A table that scrolls by itself where it is too wide for the page.

    Args:
        caption: what it shows.
        header: of the columns.
        bodies: groups of rows.
    """
    classes = ["", *["number"] * (len(header) - 1)]
    columns = (
        element("th", name, class_=class_, scope="col")
        for name, class_ in zip(header, classes, strict=True)
    )
    return element(
        "div",
        element(
            "table",
            _caption(caption),
            element("thead", element("tr", *columns)),
            *(element("tbody", *rows) for rows in bodies),
        ),
        class_="scroll",
    )


def facts(caption: str, values: Sequence[tuple[str, Any]]) -> Markup:
    """A table of names and values, without those that are None; nothing if none is left."""
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value))
        for name, value in values
        if value is not None
    ]
    if not rows:
        return Markup()
    return element("table", _caption(caption), element("tbody", *rows), class_="facts")


def figure(
    png: bytes, *, alt: str, caption: str, wide: bool = False, pixels: bool = False
) -> Markup:
    """A picture inside the page.

    Args:
        png: the bytes of the file.
        alt: what stands for it where it is not seen.
        caption: below it.
        wide: scrolls on narrow screens rather than become illegible.
        pixels: it shows pixels of images, which stay sharp; it scrolls where it is not narrow.

    Raises:
        ValueError: the bytes are not a PNG.
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            image.load()
            width, height = image.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"The picture {alt!r} is not a PNG ({error}); draw it again.") from None
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    shown = element("img", src=source, alt=alt, width=width, height=height)
    class_ = "scroll wide" if wide else "pixels" if pixels else ""
    if pixels and width > _NARROW:
        class_ = "scroll pixels"
    frame = element("div", shown, class_=class_) if class_ else shown
    return element("figure", frame, element("figcaption", caption))


def _caption(text: str) -> Markup:
    return element("caption", element("span", text))  # which wraps where the table is too wide


def page(title: str, body: Iterable[Markup]) -> str:
    """The whole document."""
    return _PAGE.substitute(title=html.escape(title), style=_STYLE, body=join(body))
