import json

import numpy as np
import pandas as pd

from miram.integrations.datasets.tables import TableDataset


def test_lists_and_missing_values_are_previewed_as_json(tmp_path):
    table = pd.DataFrame(
        {
            "lesion_id": ["a", "b", "c"],
            "mask_paths": [["m1.dcm", "m2.dcm"], [], ["m3.dcm"]],
            "density": pd.array([1, None, 3], dtype="Int64"),
            "area": [0.5, np.nan, 2.0],
        }
    )
    dataset = TableDataset(filepath=str(tmp_path / "table.parquet"))
    dataset.save(table)
    shown = json.loads(json.dumps(dataset.preview(nrows=2), allow_nan=False))
    assert shown["columns"] == list(table)
    assert shown["data"] == [["a", "m1.dcm, m2.dcm", 1, 0.5], ["b", "", None, None]]
    pd.testing.assert_frame_equal(dataset.load().iloc[:, [0, 2, 3]], table.iloc[:, [0, 2, 3]])
