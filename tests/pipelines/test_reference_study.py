"""The study of `--env test` is what it was: same bytes of data, same trained weights."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

# Recorded on 2026-11-29 with one thread, when the phantom and the default settings were changed.
# Data are the same bytes on every machine; trained weights depend a little on the processor.
FILES = {
    "crops.npy": "1e8d517d0b95e4e96892cee94cda87fa5240f4a02916342a44cc9a39710fbab9",
    "masks.npy": "620fcbb869f4b05ba083b55b86e9bbf97d850253a7f115143d92a337fef8751f",
}
TABLES = {
    "05_model_input/splits.parquet": "6ae22c80db6c465a",
    "02_intermediate/lesions.parquet": "829ef412a26d923f",
}
STORE_DIGEST = "0d4e2cb90f10f76e"
WEIGHT = "blocks.1.mlp.fc2.weight"
# Norm of that weight, and the sum of the first three values of its first row.
ENCODERS = {
    "random": (12.428416, 0.010452),
    "supervised": (12.428749, 0.009243),
    "mae": (12.429352, 0.007406),
    "miram_softmax": (12.433733, 0.012107),
    "miram_linformer": (12.432853, 0.012411),
    "miram_performer": (12.434734, 0.011679),
    "miram_nystrom": (12.433691, 0.008875),
    "miram_cross": (12.430751, 0.003989),
    "hiend_mae": (12.434176, 0.006167),
    "moco_v3": (12.425431, 0.006987),
}


@pytest.fixture(scope="module")
def data(finished_project):
    return finished_project / "data"


@pytest.mark.parametrize("name", FILES)
def test_crops_have_the_recorded_bytes(data, name):
    content = (data / "05_model_input/crops" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == FILES[name]


def test_the_store_has_the_recorded_digest(data):
    assert f'"{STORE_DIGEST}"' in (data / "05_model_input/crops/digest.json").read_text()


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_the_recorded_rows(data, name):
    text = pd.read_parquet(data / name).to_csv(index=False)
    assert hashlib.sha256(text.encode()).hexdigest().startswith(TABLES[name])


@pytest.mark.parametrize("method", ENCODERS)
def test_encoders_have_the_recorded_weights(data, method):
    (path,) = (data / "06_models" / method / "encoder.safetensors").glob("*/encoder.safetensors")
    with safe_open(path, "np") as file:
        weight = file.get_tensor(WEIGHT).astype(np.float64)
    found = (np.linalg.norm(weight), weight[0, :3].sum())
    assert found == pytest.approx(ENCODERS[method], abs=1e-3)
