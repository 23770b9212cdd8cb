"""Which attention the machine of this study computes fastest, and with the least memory."""

from typing import Any

import pandas as pd

from miram.reporting.attention_page import pays
from miram.reporting.facts.methods import method_block, study_encoder
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import Table
from miram.reporting.sections.section import Section

_EXACT = "softmax"


class Attentions(Section):
    """What the benchmark pipeline measured; absent where it was not run."""

    title = "Which attention for my image size and card?"
    template = "attentions.html"

    def applies(self, study: Study) -> bool:
        """Whether the exact attention and another were measured, by a version that says where."""
        costs = study.attention_costs
        if costs is None or "machine" not in costs:
            return False
        return _EXACT in set(costs["kind"]) and costs["kind"].nunique() > 1

    def data(self, study: Study) -> dict[str, Any]:
        """The fastest and the smallest attention by size, and from which size on each pays."""
        assert study.attention_costs is not None
        costs = study.attention_costs[study.attention_costs["step"] == "training"]
        (machine,) = set(costs["machine"])
        tokens = finest_tokens(study)
        return {
            "line": f"Measured on {machine}",
            "machine": machine,
            "tokens": tokens,
            "fastest": fastest_by_size(costs),
            "pays": pays(costs),
        }


def finest_tokens(study: Study) -> int | None:
    """Tokens of the finest decoder of a study, CLS included; None where it is not known."""
    if (encoder := study_encoder(study)) is None:
        return None
    blocks = [method_block(study, name) for name in study.methods]
    scales = [decoder["scale"] for block in blocks for decoder in block.get("decoders", ())]
    return (max(scales) * encoder.grid_side) ** 2 + 1 if scales else None


def fastest_by_size(costs: pd.DataFrame) -> Table:
    """Fastest and smallest attention beside the exact one, a row per size and precision.

    Args:
        costs: As `measure_attention`, of training steps; where the exact attention has several
            kernels, the best one counts.
    """
    rows = []
    for (tokens, precision), some in costs.groupby(["tokens", "precision"], sort=True):
        exact = some[some["kind"] == _EXACT]
        cells: list[str | None] = [f"{tokens:,}", precision]
        for column, unit in (("ms", "ms"), ("kept_mib", "MiB")):
            measured = some.dropna(subset=column)
            if measured.empty:
                cells += [None, None]
                continue
            best = measured.loc[measured[column].idxmin()]
            least = exact[column].min()
            cells.append(f"{best['kind']}: {best[column]:.1f} {unit}")
            cells.append("did not fit" if pd.isna(least) else f"{least:.1f} {unit}")
        rows.append(tuple(cells))
    heads = ("Tokens", "Precision", "Fastest", "Exact", "Keeps least", "Exact keeps")
    return Table(heads, tuple(rows))
