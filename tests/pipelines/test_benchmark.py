"""The benchmark pipeline as a user runs it, on a finished study."""

import re

import pandas as pd
import pytest


@pytest.mark.slow
def test_costs_and_distances_of_attentions_are_written_with_a_page(copied, run_pipeline):
    settings = {"kinds": ["softmax", "nystrom", "gated_conv"], "grids": [12], "seconds": 0.01}
    run_pipeline(copied, "benchmark", benchmark=settings)
    costs = pd.read_csv(copied / "08_reporting/benchmark.csv")
    assert set(costs["kind"]) == set(settings["kinds"])
    distances = pd.read_csv(copied / "08_reporting/benchmark_distances.csv").set_index("kind")
    assert distances.loc["softmax", "distance"] == 0
    assert distances.loc["nystrom", "lower"] > 0
    assert pd.isna(distances.loc["gated_conv", "distance"])  # its filters are learned
    page = (copied / "08_reporting/benchmark.md").read_text()
    assert "| nystrom | fp32 |" in page
    for name in ("softmax flash", "nystrom", "gated_conv"):
        assert re.search(rf"\| {name} \| \d+\.\d \(\d+\.\d to \d+\.\d, n \d+\) \|", page), name
    assert "not defined" not in page
