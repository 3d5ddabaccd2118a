"""Aligned columns: cells padded to the widest of their column and three blanks, ten columns at least."""

from __future__ import annotations

_WIDTH, _PADDING = 10, 3
"""What docker's tables use."""


def aligned(lines: list[str], *, width: int = _WIDTH, padding: int = _PADDING) -> str:
    """Lines of tab-separated cells, aligned; the last cell of a line is left as it is.

    As in Go's tabwriter, a column is a run of adjoining lines that have it: a line without it ends the column.
    """
    rows = [line.split("\t") for line in lines]
    widths: list[list[int]] = [[0] * (len(row) - 1) for row in rows]
    for column in range(max(map(len, widths), default=0)):
        run: list[int] = []
        for number in range(len(rows) + 1):
            if number < len(rows) and len(widths[number]) > column:
                run.append(number)
                continue
            size = max([width, *(len(rows[i][column]) + padding for i in run)])
            for i in run:
                widths[i][column] = size
            run = []
    return "".join(
        "".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=False)) + row[-1] + "\n"
        for row, sizes in zip(rows, widths, strict=True)
    )
