"""A table, for a report and for a terminal."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: The heading above it.
        header: The names of the columns; the first one names the rows.
        rows: The cells, as text.
        note: A sentence below it.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def as_text(self) -> str:
        """Returns the table for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
