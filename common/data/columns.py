"""The columns of a row, each as the text that it is meant to be."""

from typing import Any

from common.data.conversations import BadRow


def text_of(row: dict[str, Any], column: str) -> str:
    """Returns the text in a column of a row; a number is written as one.

    Args:
        row: A row as it was read.
        column: The column's name.

    Raises:
        BadRow: If there is none, or it is empty.
    """
    if column not in row:
        raise BadRow(f"no `{column}` (found: {', '.join(map(str, row)) or 'nothing'}); add the column")
    value = row[column]
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"`{column}` must be a text, not {value!r:.40}; fill it in or remove the row")
    return value
