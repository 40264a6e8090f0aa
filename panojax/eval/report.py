"""From results to the files that people read: tables laid out as the papers', figures, and JSON."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from panojax.disk.staging import replaced_when_done
from panojax.eval.feature_networks import distance_names
from panojax.eval.figures import write_curves
from panojax.eval.reconstruction import AROUND
from panojax.eval.samples import INPUT
from panojax.eval.tables import Column, Row, Table, filled, to_latex, to_markdown
from panojax.synthetic.cameras import WORLD_UNITS_PER_METRE

FACES_TO = 90
"""Degrees from the portrait up to which identities are printed."""


def write_report(out: pathlib.Path, results: Mapping[str, Any], tables: Iterable[Table]) -> list[str]:
    """Writes results.json and each table as .md and .tex into a folder; the names of the files."""
    files = {"results.json": json.dumps(_plain(results), indent=1) + "\n"}
    for table in map(filled, tables):
        files |= {f"{table.name}.md": to_markdown(table), f"{table.name}.tex": to_latex(table)}
    for name, text in files.items():
        with replaced_when_done(out / name, overwrite=True) as partial:
            partial.write_text(text)
    return sorted(files)


def portrait_tables(results: Mapping[str, Any]) -> list[Table]:
    """The dual encoder's Table 1 (all sets side by side, with time and memory), and its ablations' Tables 3 to 5."""
    names = results["networks"]
    sets: Mapping[str, Any] = results["sets"]
    reconstruction = _reconstruction_columns(names)
    columns, ablation = [], []
    for name in sets:
        own = [dataclasses.replace(column, group=name) for column in (*reconstruction, *_distance_columns(names))]
        columns += own
        ablation += own[1:-1]  # without L2 and the kernel distance
    rows, short = [], []
    for title, optimisation in _methods(results):
        figures: list[float | None] = []
        brief: list[float | None] = []
        for one in sets.values():
            own = one["methods"][title]
            same = _reconstruction_figures(own["groups"][INPUT])
            apart = _distance_figures(own["distances"].get(AROUND))
            figures += [*same, *apart]
            brief += [*same[1:], apart[0]]
        cost = [next(iter(sets.values()))["methods"][title].get(name) for name in ("seconds", "memory_mib")]
        rows.append(Row((_category(optimisation), title), (*figures, *cost)))
        short.append(Row((title,), tuple(brief)))
    floor: list[float | None] = []
    for one in sets.values():
        floor += [*[None] * len(reconstruction), *_distance_figures(one["floor"].get(AROUND))]
    rows.append(Row(("Generator", "floor"), (*floor, None, None), competes=False))
    columns += [Column("Time", "sec", "low", 2), Column("Memory", "MiB", "low", 0)]
    counts = ", ".join(f"{name} {one['samples']}" for name, one in sets.items())
    caption = f"Portraits inverted ({counts}). {_networks(names)}"
    return [
        Table("reconstruction", caption, ("Category", "Method"), tuple(columns), tuple(rows)),
        Table("ablation", caption, ("Method",), tuple(ablation), tuple(short)),
    ]


def mead_tables(results: Mapping[str, Any]) -> list[Table]:
    """The dual encoder's Table 2: figures of the views beside the portrait, farthest first."""
    names, (one,) = results["networks"], results["sets"].values()
    first = next(iter(one["methods"].values()))
    angles = sorted((angle for angle in first["groups"] if angle != INPUT), key=float, reverse=True)
    measures = [*_reconstruction_columns(names)[1:], *_distance_columns(names)]
    columns = tuple(
        dataclasses.replace(column, group=column.title, title=f"±{angle}°") for column in measures for angle in angles
    )

    def figures(own: Mapping[str, Any]) -> tuple[float | None, ...]:
        by_angle = [
            [
                *_reconstruction_figures(own["groups"].get(angle, {}))[1:],
                *_distance_figures(own["distances"].get(angle)),
            ]
            for angle in angles
        ]
        return tuple(by_angle[j][i] for i in range(len(measures)) for j in range(len(angles)))

    rows = [
        Row((_category(optimisation), title), figures(one["methods"][title]))
        for title, optimisation in _methods(results)
    ]
    rows.append(Row(("Generator", "floor"), figures({"groups": {}, "distances": one["floor"]}), competes=False))
    caption = f"Front portraits of {one['samples']} moments, seen from other cameras. {_networks(names)}"
    return [Table("mead", caption, ("Category", "Method"), columns, tuple(rows))]


def heads_tables(results: Mapping[str, Any]) -> list[Table]:
    """`portrait_tables`, and the error against the true views by the angle from the portrait."""
    names, (one,) = results["networks"], results["sets"].values()
    angles = _angles(one)
    measures = _true_view_measures(names)
    columns = tuple(
        Column(title, f"{angle}°", better, digits)
        for name, title, better, digits, _ in measures
        for angle in angles
        if _printed(name, angle)
    )
    rows = []
    for title, _ in _methods(results):
        groups = one["methods"][title]["groups"]
        figures = [
            _scaled(groups.get(angle, {}).get(name), scale)
            for name, _, _, _, scale in measures
            for angle in angles
            if _printed(name, angle)
        ]
        rows.append(Row((title,), tuple(figures)))
    first = next(iter(one["methods"].values()))["groups"]
    counts = ", ".join(f"{angle}° {first[angle]['pictures']:.0f}" for angle in angles)
    caption = f"Views against the true ones, by the angle from the portrait (pictures: {counts}). {_networks(names)}"
    return [*portrait_tables(results), Table("true_views", caption, ("Method",), columns, tuple(rows))]


def write_heads_curves(out: pathlib.Path, results: Mapping[str, Any]) -> None:
    """A figure a measure: its mean over the true views, by the angle from the portrait."""
    (one,) = results["sets"].values()
    angles = _angles(one)
    for name, title, _, _, scale in _true_view_measures(results["networks"]):
        shown = [angle for angle in angles if _printed(name, angle)]
        curves = {
            method: [scale * own["groups"].get(angle, {}).get(name, math.nan) for angle in shown]
            for method, own in one["methods"].items()
        }
        write_curves(out / f"true_views_{name}.svg", title, [float(angle) for angle in shown], curves)


def panohead_tables(results: Mapping[str, Any]) -> list[Table]:
    """PanoHead's Tables 1 and 2: a row a figure, for the generator and, where it is a distance, its own floor."""
    names = results["networks"]
    frechet, kernel, score = distance_names(names.get("features", ""))
    own_way = ", own rendering" if results.get("rendering", "own") == "own" else ""
    rows = []
    for part in ("back", "front", "all"):
        for name, key, scale, unit in ((frechet, "frechet", 1.0, ""), (kernel, "kernel", 1e3, " (10⁻³)")):
            own, floor = (results[which].get(part, {}).get(key) for which in ("distances", "floor"))
            rows.append(Row((f"{name}-{part}{own_way}{unit} ↓",), (_scaled(own, scale), _scaled(floor, scale))))
    scores = results["scores"]
    rows += [Row((f"{score}-{part}{own_way} ↑",), (scores.get(part), None)) for part in ("back", "front", "all")]
    rows.append(Row((f"ID ({names.get('aligned', '')}) ↑",), (results["identity"], None)))
    rows.append(
        Row((f"Mask MSE (10⁻²) ({names.get('segmenter', '')}) ↓",), (_scaled(results["mask_error"], 100), None))
    )
    rows = [row for row in rows if row.figures[0] is not None and not math.isnan(row.figures[0])]
    columns = (Column("", "Generator"), Column("", "its floor"))
    pictures = ", ".join(f"{part} {count}" for part, count in results["pictures"].items())
    caption = (
        f"{results['samples']} samples against pictures ({pictures}). Identity at yaws of -45 and 45 degrees of "
        f"{results['heads_with_faces']} heads; {results['faces_missed']} had no face that was found. {_networks(names)}"
    )
    return [Table("panohead", caption, ("Figure",), columns, tuple(rows))]


def _methods(results: Mapping[str, Any]) -> list[tuple[str, bool]]:
    one = next(iter(results["sets"].values()))
    return [(title, row["optimisation"]) for title, row in one["methods"].items()]


def _category(optimisation: bool) -> str:
    return "Optimization" if optimisation else "Encoder"


def _reconstruction_columns(names: Mapping[str, str]) -> list[Column]:
    return [
        Column("", "L2", "low"),
        Column("", "LPIPS", "low"),
        Column("", f"ID crop ({names.get('identity') or 'none'})", "high"),
        Column("", f"ID aligned ({names.get('aligned') or 'none'})", "high"),
        Column("", "faces missed", "", 0),
    ]


def _reconstruction_figures(group: Mapping[str, float]) -> list[float | None]:
    return [group.get(name) for name in ("l2", "lpips", "identity", "aligned", "missed")]


def _distance_columns(names: Mapping[str, str]) -> list[Column]:
    frechet, kernel, _ = distance_names(names.get("features", ""))
    return [Column("", frechet, "low", 2), Column("", f"{kernel} (10⁻³)", "low", 2)]


def _distance_figures(group: Mapping[str, float] | None) -> list[float | None]:
    return [None, None] if group is None else [group["frechet"], _scaled(group["kernel"], 1e3)]


def _true_view_measures(names: Mapping[str, str]) -> list[tuple[str, str, str, int, float]]:
    """(measure, title, better, digits, factor) of those that true views are compared by."""
    return [
        ("l2", "L2", "low", 3, 1.0),
        ("lpips", "LPIPS", "low", 3, 1.0),
        ("identity", f"ID crop ({names.get('identity') or 'none'})", "high", 3, 1.0),
        ("aligned", f"ID aligned ({names.get('aligned') or 'none'})", "high", 3, 1.0),
        ("depth", "Depth error, mm", "low", 1, 1000 / WORLD_UNITS_PER_METRE),
        ("mask", "Mask MSE (10⁻²)", "low", 2, 100.0),
    ]


def _printed(measure: str, angle: str) -> bool:
    return measure not in ("identity", "aligned") or float(angle) <= FACES_TO


def _angles(one: Mapping[str, Any]) -> list[str]:
    return list(next(iter(one["methods"].values()))["groups"])


def _networks(names: Mapping[str, str]) -> str:
    frechet, kernel, _ = distance_names(names.get("features", ""))
    told = {
        "lpips": "LPIPS: {}",
        "identity": "ID crop: {} on the training loss's crop",
        "aligned": "ID aligned: {} on faces found and aligned",
        "features": f"{frechet} and {kernel}: Frechet and kernel distance between features of {{}}",
        "segmenter": "masks: {}",
    }
    said = [text.format(names[name]) for name, text in told.items() if names.get(name)]
    return "; ".join(said) + "." if said else "Networks: none, so figures of pixels alone."


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _plain(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
