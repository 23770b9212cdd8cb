import json

import numpy as np
import pandas as pd
import yaml
from project_paths import PROJECT

from miram.integrations.datasets.tables import Table


def test_lists_and_missing_values_are_previewed_as_json(tmp_path):
    table = pd.DataFrame(
        {
            "lesion_id": ["a", "b", "c"],
            "mask_paths": [["m1.dcm", "m2.dcm"], [], ["m3.dcm"]],
            "density": pd.array([1, None, 3], dtype="Int64"),
            "area": [0.5, np.nan, 2.0],
        }
    )
    dataset = Table(filepath=str(tmp_path / "table.parquet"))
    dataset.save(table)
    shown = json.loads(json.dumps(dataset.preview(nrows=2), allow_nan=False))
    assert shown["columns"] == list(table)
    assert shown["data"] == [["a", "m1.dcm, m2.dcm", 1, 0.5], ["b", "", None, None]]
    pd.testing.assert_frame_equal(dataset.load().iloc[:, [0, 2, 3]], table.iloc[:, [0, 2, 3]])


def test_no_cell_and_no_heading_of_a_csv_is_a_formula(tmp_path):
    name = '=HYPERLINK("http://x")'
    table = pd.DataFrame({"method": ["+mae", name, "@x"], "auc": [-0.5, 1.0, 2.0], name: "-1e3"})
    dataset = Table(filepath=str(tmp_path / "leaderboard.csv"))
    dataset.save(table)
    stored = dataset.load()
    assert list(stored) == ["method", "auc", f"'{name}"]
    assert stored["method"].tolist() == ["'+mae", f"'{name}", "'@x"]
    assert stored["auc"].tolist() == [-0.5, 1.0, 2.0]
    assert stored[f"'{name}"].tolist() == [-1000.0] * 3


def test_every_csv_of_the_catalog_is_written_so():
    catalog = {}
    for path in (PROJECT / "conf/base").glob("catalog*.yml"):
        catalog |= yaml.safe_load(path.read_text())
    written = {
        name: entry["type"].rpartition(".")[2]
        for name, entry in catalog.items()
        if isinstance(entry, dict) and str(entry.get("filepath")).endswith(".csv")
    }
    assert {"leaderboard", "costs", "ingest_audit"} <= set(written)
    assert set(written.values()) == {"Table", "OptionalTable", "TrainingRecordDataset"}
