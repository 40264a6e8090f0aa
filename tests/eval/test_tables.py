import math

from panojax.eval.report import _networks
from panojax.eval.tables import Column, Row, Table, filled, to_latex, to_markdown

TABLE = Table(
    "small",
    "Two sets & 100% of it",
    ("Category", "Method"),
    (
        Column("FFHQ", "L2", "low"),
        Column("FFHQ", "ID", "high", 2),
        Column("MEAD", "±60°", "low", 1),
        Column("", "KID (10⁻³)", "low"),
    ),
    (
        Row(("Encoder", "E1"), (0.0124, 0.5, 3.04, None)),
        Row(("Encoder", "E_2"), (0.0121, math.nan, 2.96, None)),
        Row(("Generator", "floor"), (None, None, 0.1, None), competes=False),
    ),
)


def test_markdown():
    """The best of those that compete is bold, as printed: both L2 and 3.0 are ties."""
    assert to_markdown(filled(TABLE)) == (
        "**Two sets & 100% of it**\n\n"
        "| Category | Method | FFHQ L2 ↓ | FFHQ ID ↑ | MEAD ±60° ↓ |\n"
        "| --- | --- | ---: | ---: | ---: |\n"
        "| Encoder | E1 | **0.012** | 0.50 | **3.0** |\n"
        "| Encoder | E_2 | **0.012** | - | **3.0** |\n"
        "| Generator | floor | - | - | 0.1 |\n"
    )


def test_latex():
    lines = to_latex(TABLE).splitlines()
    assert r"\caption{Two sets \& 100\% of it}" in lines and r"\begin{tabular}{llrrrr}" in lines
    assert r" &  & \multicolumn{2}{c}{FFHQ} & \multicolumn{1}{c}{MEAD} & \multicolumn{1}{c}{} \\" in lines
    titles = r"L2 $\downarrow$ & ID $\uparrow$ & $\pm$60$^\circ$ $\downarrow$ & KID ($10^{-3}$) $\downarrow$ \\"
    assert f"Category & Method & {titles}" in lines
    assert r"Encoder & E\_2 & \textbf{0.012} & - & \textbf{3.0} & - \\" in lines


def test_captions_name_the_networks_that_measured():
    assert _networks({}) == "Networks: none, so figures of pixels alone."
    assert _networks({"lpips": "AlexNet"}) == "LPIPS: AlexNet."
