"""The study of `--env test` is what it was: same bytes of data, same trained weights."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

# Recorded on 2026-11-28 before the packages were rearranged, with one thread. Data are the same
# bytes on every machine; trained weights depend a little on the processor and its precision.
FILES = {
    "crops.npy": "81886627f5d9a3f99710ec512202dbc5e0353ddf3841e4d801d2b8c23f23d640",
    "masks.npy": "0444de59d4ed8afb430948884d5ce31a4c950b9763009eec6ee9f447be663433",
}
TABLES = {
    "05_model_input/splits.parquet": "e4749360be242160",
    "02_intermediate/lesions.parquet": "69d62e274b92dd7a",
}
STORE_DIGEST = "681d67c4217dfd83"
WEIGHT = "blocks.1.mlp.fc2.weight"
# Norm of that weight, and the sum of the first three values of its first row.
ENCODERS = {
    "random": (17.500283, -0.089415),
    "supervised": (17.500341, -0.089678),
    "mae": (17.504639, -0.090622),
    "miram_softmax": (17.507928, -0.087241),
    "miram_linformer": (17.505736, -0.087302),
    "miram_performer": (17.508548, -0.087297),
    "miram_nystrom": (17.507512, -0.087202),
    "miram_cross": (17.506227, -0.089539),
    "hiend_mae": (17.507568, -0.088940),
    "moco_v3": (17.500418, -0.091101),
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
