"""``validation.html``: the result of validation for reading, in one file."""

import base64
from html import escape
from typing import Mapping

import cv2
import numpy as np

from data_prep.errors import InputError
from data_prep.figures import counted
from data_prep.image_file import BrokenImage
from data_prep.preprocessing import Preprocessing
from data_prep.sources import RawImage

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; color: #222; background: #fff }
h2 { margin-top: 2.5rem } svg text { font: 12px system-ui, sans-serif }
.error { border-left: 5px solid #b3261e } .warning { border-left: 5px solid #b58900 }
.note { border-left: 5px solid #5f6b7a }
section { padding: 0 1rem; margin: 1.5rem 0 } figure { display: inline-block;
  margin: 0 .6rem .6rem 0; width: 7rem; vertical-align: top }
figure img { width: 7rem; height: 7rem; image-rendering: auto }
figcaption, li { font-size: .8rem; overflow-wrap: anywhere }
table { border-collapse: collapse } td, th { padding: .1rem .8rem .1rem 0;
  text-align: right } td:first-child, th:first-child { text-align: left }
.samples { max-width: 100% }
"""
MOST_ROWS = 65_000  # pixels; a JPEG has no more, of a thousand classes
TILE = Preprocessing(image_size=112, border_crop=0)


def page(result: dict, images: Mapping[str, RawImage], grid: np.ndarray) -> str:
    """The whole page.

    Args:
        result: The content of validation.json.
        images: Raw images by their paths, for the examples.
        grid: The sample grid, uint8 RGB.
    """
    errors = sum(f["severity"] == "error" for f in result["findings"])
    verdict = (
        f"{counted(errors, 'kind', 'kinds')} of errors: "
        "these images cannot be used as they are."
        if errors
        else "No errors."
    )
    return f"""<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Validation</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style>
<h1>Validation</h1>
<p>{counted(result["images"], "image", "images")},
{counted(len(result["classes"]), "class", "classes")},
{counted(len(result["sources"]), "set", "sets")}. <b>{verdict}</b></p>
<h2>Findings</h2>
{"".join(_finding(f, images) for f in result["findings"]) or "<p>None.</p>"}
<h2>Images a class</h2>
{_bars(result["classes"])}
<h2>Sets</h2>
{_sets(result["sources"])}
<h2>Samples</h2>
<img class="samples" alt="a row of images of each class" src="{_uri(grid)}">
</html>
"""


def _finding(finding: dict, images: Mapping[str, RawImage]) -> str:
    more = finding["count"] - len(finding["examples"])
    return (
        f'<section class="{finding["severity"]}"><h3>{escape(finding["kind"])}</h3>'
        f'<p>{escape(finding["message"])}.</p>'
        + "".join(_example(name, images.get(name)) for name in finding["examples"])
        + (f"<p>and {more} more</p>" if more > 0 and finding["examples"] else "")
        + "</section>\n"
    )


def _example(name: str, image: RawImage | None) -> str:
    """A picture with its name, or the name alone if there is nothing to show."""
    try:
        picture = image and f'<img alt="" src="{_uri(TILE.apply(image.read()))}">'
    except (BrokenImage, InputError):
        picture = None
    return f"<figure>{picture or ''}<figcaption>{escape(name)}</figcaption></figure>"


def _bars(counts: Mapping[str, int]) -> str:
    """A horizontal bar for each class."""
    most = max(counts.values(), default=0) or 1
    rows = "".join(
        f'<text x="92" y="{20 * i + 14}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="100" y="{20 * i + 3}" height="14" width="{600 * count / most:.1f}" '
        f'fill="#4878a8"/><text x="{106 + 600 * count / most:.1f}" y="{20 * i + 14}">'
        f"{count}</text>"
        for i, (name, count) in enumerate(counts.items())
    )
    return f'<svg width="760" height="{20 * len(counts)}" role="img">{rows}</svg>'


def _sets(sources: Mapping[str, Mapping[str, int]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{sum(counts.values())}</td>"
        f"<td>{len(counts)}</td></tr>"
        for name, counts in sources.items()
    )
    return f"<table><tr><th>set</th><th>images</th><th>classes</th></tr>{rows}</table>"


def _uri(rgb: np.ndarray) -> str:
    rgb = rgb[:MOST_ROWS]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
