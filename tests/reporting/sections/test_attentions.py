"""The section on attentions: there with measurements alone, and with their numbers."""

from dataclasses import replace

import pandas as pd
import pytest

from miram.reporting.facts.study import Study
from miram.reporting.page import render_report
from miram.reporting.sections.attentions import Attentions, fastest_by_size, finest_tokens

ROWS = [
    ("softmax", "flash", 197, 10.0, 2.0),
    ("softmax", "formula", 197, 9.0, 4.0),
    ("linformer", None, 197, 12.0, 3.0),
    ("softmax", "flash", 785, 70.0, 8.0),
    ("softmax", "formula", 785, None, None),
    ("linformer", None, 785, 30.5, 9.0),
]
COLUMNS = ["kind", "kernel", "tokens", "ms", "kept_mib"]


@pytest.fixture
def costs() -> pd.DataFrame:
    """As it is read from benchmark.csv."""
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    table = table.assign(ms_low=table["ms"], ms_high=table["ms"])
    return table.assign(precision="fp32", step="training", machine="a card of 8 GB")


def test_the_fastest_and_the_smallest_stand_beside_the_best_kernel(costs: pd.DataFrame) -> None:
    assert fastest_by_size(costs).rows == (
        ("197", "fp32", "softmax: 9.0 ms", "9.0 ms", "softmax: 2.0 MiB", "2.0 MiB"),
        ("785", "fp32", "linformer: 30.5 ms", "70.0 ms", "softmax: 8.0 MiB", "8.0 MiB"),
    )


def test_a_size_that_exact_attention_does_not_fit_says_so(costs: pd.DataFrame) -> None:
    costs.loc[costs["kind"] == "softmax", ["ms", "kept_mib"]] = None
    assert fastest_by_size(costs).rows[1][2:4] == ("linformer: 30.5 ms", "did not fit")


def test_the_section_is_there_only_after_the_benchmark(study: Study, costs: pd.DataFrame) -> None:
    assert Attentions.title not in render_report(study)
    page = render_report(replace(study, attention_costs=costs))
    assert Attentions.title in page
    assert "Measured on a card of 8 GB" in page
    assert "785 tokens" in page  # from where linformer is faster
    exact = costs[costs["kind"] == "softmax"]
    assert Attentions.title not in render_report(replace(study, attention_costs=exact))


def test_the_tokens_are_those_of_the_finest_decoder(study: Study) -> None:
    decoders = [{"scale": 1}, {"scale": 2}]
    blocks = {"miram_nystrom": {"method": {"decoders": decoders}}}
    found = replace(study, parameters={**study.parameters, **blocks})
    assert finest_tokens(found) == 8 * 8 + 1  # 16 pixels in patches of 4, at twice the resolution
    assert finest_tokens(study) is None
