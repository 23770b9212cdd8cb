"""The study of `--env test` is what it was: same bytes of data, same trained weights."""

import hashlib
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from project_paths import PROJECT
from safetensors import safe_open

# Recorded on 2026-11-29 with one thread, when masks of the phantom and the mask ratio were changed.
# Data are the same bytes on every machine; trained weights depend a little on the processor.
FILES = {
    "crops.npy": "4ff8555280c039d99fdb1a2ebda1f561b2ae38af1a7335f4342d7cd800686544",
    "masks.npy": "d0812918bd288c4deac7e822fb190d9744d7a5f2aa953b5d3100e3e8308e0db6",
}
TABLES = {
    "05_model_input/splits.parquet": "5226663b897ffc5c",
    "02_intermediate/lesions.parquet": "f01f69da2bec3346",
}
STORE_DIGEST = "0d3e96156fa48136"
WEIGHT = "blocks.1.mlp.fc2.weight"
# Norm of that weight, and the sum of the first three values of its first row.
ENCODERS = {
    "random": (12.428416, 0.010452),
    "supervised": (12.428563, 0.007606),
    "mae": (12.428926, 0.008726),
    "miram_softmax": (12.432767, 0.006540),
    "miram_linformer": (12.430967, 0.013875),
    "miram_performer": (12.433093, 0.006442),
    "miram_nystrom": (12.432514, 0.012619),
    "miram_cross": (12.431577, 0.006769),
    "hiend_mae": (12.434852, 0.007150),
    "moco_v3": (12.426669, 0.006519),
}


PINS = (PROJECT / "constraints.txt").read_text().splitlines()
with_pinned_versions = pytest.mark.skipif(
    not all(f"{name}=={version(name)}" in PINS for name in ("numpy", "scipy")),
    reason="other versions of NumPy and SciPy round pixels of the phantom otherwise",
)


@pytest.fixture(scope="module")
def data(finished_project):
    return finished_project / "data"


@with_pinned_versions
@pytest.mark.parametrize("name", FILES)
def test_crops_have_the_recorded_bytes(data, name):
    content = (data / "05_model_input/crops" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == FILES[name]


@with_pinned_versions
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
