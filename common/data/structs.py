"""Rows as they were before Arrow held them: it gives every object the keys of all the others, with no value in them."""

from datetime import date, time
from decimal import Decimal
from typing import Any

from common.data.tools import read_tools
from common.errors import BadRow

from datasets import Features


def _schemas(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the schema of each tool that a row offers, by its name."""
    schemas = {}
    for column in ("tools", "functions"):
        try:
            tools = read_tools(row.get(column) or [])
        except BadRow:
            continue  # said when the row is read
        for tool in tools if isinstance(tools, list) else []:
            function = tool.get("function") if isinstance(tool, dict) else None
            if isinstance(function, dict) and isinstance(function.get("parameters"), dict):
                schemas[function.get("name")] = function["parameters"]
    return schemas


def _takes_null(schema: dict[str, Any], key: str) -> bool:
    """Returns whether a call's argument may be null: it is required, or null is among its types."""
    part = (schema.get("properties") or {}).get(key) or {}
    types = part.get("type") if isinstance(part, dict) else None
    return key in (schema.get("required") or []) or (isinstance(types, list) and "null" in types)


def _plain(value: Any, feature: Any, schemas: dict[str, dict[str, Any]], kept: dict[str, Any] | None = None) -> Any:
    if isinstance(feature, dict) and isinstance(value, dict):
        schema = schemas.get(value.get("name"), {})
        return {
            key: _plain(item, feature.get(key), schemas, schema if key == "arguments" else None)
            for key, item in value.items()
            if item is not None or (kept and _takes_null(kept, key))
        }
    inner = getattr(feature, "feature", None)  # of datasets' List and LargeList
    if inner is not None and isinstance(value, list):
        return [_plain(item, inner, schemas) for item in value]
    if isinstance(value, date | time | Decimal):
        return str(value)  # as it stands in a csv
    return value  # of datasets' Json it is what was written


def plain_row(row: dict[str, Any], features: Features) -> dict[str, Any]:
    """Returns a row of a `datasets` data set without the keys that only other rows have.

    An argument of a call that is null stays where the schema of its tool requires it or allows null: Arrow does not tell it
    from one that was left out. Columns of datasets' type `Json` are as they were written; dates, times and decimals are texts.

    Args:
        row: The row.
        features: The types of the columns.
    """
    found = {column: _plain(value, features.get(column), {}) for column, value in row.items()}
    schemas = _schemas(found)
    return {column: _plain(value, features.get(column), schemas) for column, value in row.items()} if schemas else found
