"""The benchmark pipeline as a user runs it, on a finished study."""

import re

import pandas as pd
import pytest
from mlflow import MlflowClient


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

    # One run of MLflow for each kind, with the same keys.
    client = MlflowClient(f"sqlite:///{copied}/mlflow/mlflow.db")
    [experiment] = [one for one in client.search_experiments() if one.name != "Default"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    keys = {
        f"{precision}/{step}/{metric}"
        for precision in ("fp32", "bf16")
        for step in ("forward", "training")
        for metric in ("ms", "kept_mib", "peak_mib", "share")
    }
    for kind in settings["kinds"]:
        assert runs[kind].info.status == "FINISHED" and keys <= set(runs[kind].data.metrics)
    reported = client.get_metric_history(runs["nystrom"].info.run_id, "fp32/training/ms")
    rows = costs[(costs["kind"] == "nystrom") & (costs["precision"] == "fp32")]
    [expected] = rows.loc[rows["step"] == "training", "ms"]
    assert [(one.step, one.value) for one in reported] == [(145, pytest.approx(expected))]
