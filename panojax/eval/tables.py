"""Tables as Markdown and LaTeX, with a heading over groups of columns, as the papers print them."""

import dataclasses
import itertools
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
      group: heading over it and its neighbours of the same group; "" has none.
      title: heading.
      better: "low" or "high", whose best figure is set in bold; "" for neither.
      digits: after the point.
    """

    group: str
    title: str
    better: str = ""
    digits: int = 3


@dataclasses.dataclass(frozen=True)
class Row:
    """A row: its headings, its figures (NaN or None is a dash), and whether it competes for the best."""

    headings: tuple[str, ...]
    figures: tuple[float | None, ...]
    competes: bool = True


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      name: of its files.
      caption: what it shows, and by which networks.
      headings: titles of the rows' headings.
      columns: of figures.
      rows: each with as many headings and figures.
    """

    name: str
    caption: str
    headings: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def filled(table: Table) -> Table:
    """The table without columns in which no row has a figure."""
    kept = [i for i in range(len(table.columns)) if any(not _absent(row.figures[i]) for row in table.rows)]
    rows = tuple(dataclasses.replace(row, figures=tuple(row.figures[i] for i in kept)) for row in table.rows)
    return dataclasses.replace(table, columns=tuple(table.columns[i] for i in kept), rows=rows)


def to_markdown(table: Table) -> str:
    """The table as GitHub's Markdown; a group's heading goes before its columns' titles."""
    titles = [" ".join(filter(None, (c.group, c.title, _arrow(c, "↓", "↑")))) for c in table.columns]
    lines = [f"**{table.caption}**", "", _line([*table.headings, *titles])]
    lines.append(_line(["---"] * len(table.headings) + ["---:"] * len(titles)))
    best = _best(table)
    for row in table.rows:
        cells = [_cell(c, figure, "**{}**", b, row) for c, figure, b in zip(table.columns, row.figures, best)]
        lines.append(_line([*row.headings, *cells]))
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    r"""The table as a LaTeX float; it needs \usepackage{booktabs}."""
    leading = len(table.headings)
    groups = [(name, len(list(own))) for name, own in itertools.groupby(c.group for c in table.columns)]
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_escaped(table.caption)}}}"]
    lines += [rf"\begin{{tabular}}{{{'l' * leading}{'r' * len(table.columns)}}}", r"\toprule"]
    if any(name for name, _ in groups):
        cells = [rf"\multicolumn{{{count}}}{{c}}{{{_escaped(name)}}}" for name, count in groups]
        lines.append(" & ".join([""] * leading + cells) + r" \\")
    arrows = [_arrow(c, r"$\downarrow$", r"$\uparrow$") for c in table.columns]
    titles = [f"{_escaped(c.title)} {arrow}".strip() for c, arrow in zip(table.columns, arrows)]
    lines += [" & ".join([*map(_escaped, table.headings), *titles]) + r" \\", r"\midrule"]
    best = _best(table)
    for row in table.rows:
        cells = [_cell(c, figure, r"\textbf{{{}}}", b, row) for c, figure, b in zip(table.columns, row.figures, best)]
        lines.append(" & ".join([*map(_escaped, row.headings), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _best(table: Table) -> list[float | None]:
    """The best figure of each column, as printed, where several rows compete."""
    best: list[float | None] = []
    for i, column in enumerate(table.columns):
        figures = [row.figures[i] for row in table.rows if row.competes]
        printed = [round(f, column.digits) for f in figures if f is not None and not math.isnan(f)]
        choose = {"low": min, "high": max}.get(column.better)
        best.append(choose(printed) if choose and len(printed) > 1 else None)
    return best


def _cell(column: Column, figure: float | None, bold: str, best: float | None, row: Row) -> str:
    if _absent(figure):
        return "-"
    assert figure is not None
    text = f"{figure:.{column.digits}f}"
    return bold.format(text) if row.competes and best is not None and round(figure, column.digits) == best else text


def _absent(figure: float | None) -> bool:
    return figure is None or math.isnan(figure)


def _arrow(column: Column, low: str, high: str) -> str:
    return {"low": low, "high": high}.get(column.better, "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    for plain, command in (
        ("\\", r"\textbackslash "),
        ("±", r"$\pm$"),
        ("°", r"$^\circ$"),
        ("10⁻³", "$10^{-3}$"),
        ("10⁻²", "$10^{-2}$"),
    ):
        text = text.replace(plain, command)
    return "".join(f"\\{c}" if c in "&%#_" else c for c in text)
