"""A page as one self-contained file: its data, one script and one style within it, and nothing else allowed to run."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from common.data.runs import finite
from common.report.numbers import count_of, format_interval, format_value

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
SCRIPTS = ["elements", "scales", "charts", "answers", "problems", "groups", "live"]  # of browser/, in this order one script


def _hash(text: str) -> str:
    """Returns how a content security policy names an inline text (https://www.w3.org/TR/CSP3/#grammardef-hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _in_script(data: dict[str, Any]) -> str:
    """Returns data as JSON in which nothing can end the element that holds it."""
    text = json.dumps(finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def render(template: str, data: dict[str, Any], **values: Any) -> bytes:
    """Fills a template of this folder.

    Args:
        template: Its name.
        data: What the script shows, as JSON.
        **values: What the template shows by itself; all of it is escaped, since a completion is text that nobody has vetted.

    Returns:
        The file; what is no valid text (half a character) is replaced.
    """
    style = (HERE / "browser" / "page.css").read_text(encoding="utf-8")
    parts = [(HERE / "browser" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    script = "(() => {\n'use strict';\n" + "\n".join(parts) + "})();\n"
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": format_value, "interval": format_interval, "count_of": count_of}
    environment.filters["words"] = lambda name: name.replace("_", " ")
    page = environment.get_template(template).render(
        style=style,
        script=script,
        data=_in_script(data),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}",
        **values,
    )
    return page.encode(errors="replace")


def replace(path: Path, content: bytes) -> None:
    """Writes a whole file or none, so that a page that is open in a browser is never half of one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
