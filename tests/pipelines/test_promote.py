"""From a study to a served model: registering, deciding, going back, loading, serving, embedding.

Everything here is real: the registry is MLflow's, the server is `mlflow models serve`, models
come from the phantom.
"""

import base64
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pydicom
import pytest
from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError
from miram_command import call_miram
from mlflow import MlflowClient
from project_paths import PROJECT

from miram.errors import MiramError
from miram.mammography.crops.store import CropStore
from miram.serving.predictor import Predictor
from miram.serving.registry.versions import roll_back

METHOD = "miram_nystrom"
UNTRAINED = "mae"
NAME = f"miram-{METHOD}"
CHAMPION = f"models:/{NAME}@champion"
NOTICE = "Research use only"

# Crops in arrays are answered where the package cannot be imported at all.
ISOLATED = """
import json, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "miram":
            raise ImportError("there is no " + name)
sys.meta_path.insert(0, Refuse())
import mlflow, numpy as np, pandas as pd, torch
crops = np.load(sys.argv[2])
encoder = mlflow.pytorch.load_model(sys.argv[1])
features = encoder(torch.from_numpy(crops)).detach().numpy()
model = mlflow.pyfunc.load_model(sys.argv[1])
answers = model.predict(pd.DataFrame({"image": [crop.tolist() for crop in crops]}))
try:
    model.predict(pd.DataFrame({"dicom": ["AAAA"]}))
except mlflow.MlflowException as error:
    refusal = str(error)
assert not [name for name in sys.modules if name.split(".")[0] == "miram"]
print(json.dumps([features.tolist(), answers.to_dict("records"), refusal]))
"""


def copy_evaluated(finished_project, folder):
    """A study up to its metrics, without the models of one method."""
    ignored = shutil.ignore_patterns("mlflow", "08_reporting", UNTRAINED)
    return shutil.copytree(finished_project / "data", folder / "data", ignore=ignored)


def promoter(data, run_pipeline):
    """Runs the pipeline as `--params promote.method=...` does, and gives what was done."""

    def run(**options):
        run_pipeline(data, "promote", promote={"method": METHOD, **options})
        return json.loads((data / f"06_models/{METHOD}/promotion.json").read_text())

    return run


def registered(data, promote):
    uri = f"sqlite:///{data}/mlflow/mlflow.db"
    return SimpleNamespace(first=promote(), client=MlflowClient(uri), uri=uri)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, finished_project):
    return copy_evaluated(finished_project, tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(scope="module")
def promote(evaluated, run_pipeline):
    return promoter(evaluated, run_pipeline)


@pytest.fixture(scope="module")
def registry(evaluated, promote):
    """A registry whose first version is the champion; not to be changed."""
    return registered(evaluated, promote)


@pytest.fixture
def own(tmp_path, finished_project, run_pipeline):
    """The same for a test that changes it."""
    data = copy_evaluated(finished_project, tmp_path)
    promote = promoter(data, run_pipeline)
    return SimpleNamespace(data=data, promote=promote, register=lambda: registered(data, promote))


@pytest.fixture(scope="module")
def study(evaluated):
    """What the served answers are compared with: crops, features and predictions."""
    predictions = pd.read_parquet(evaluated / f"07_model_output/{METHOD}/predictions.parquet")
    predictions = predictions[predictions["task"] == "pathology"].set_index("lesion_id")
    features = pd.read_parquet(evaluated / f"04_feature/{METHOD}/features.parquet")
    store = CropStore.open(evaluated / "05_model_input/crops")
    names = list(predictions.index[:3])
    crops = store.crops[store.rows(names)] / np.float32(65_535)
    lesions = pd.read_parquet(evaluated / "02_intermediate/lesions.parquet").set_index("lesion_id")
    return SimpleNamespace(
        names=names,
        crops=crops,
        features=features.drop(columns="seed").set_index("lesion_id").loc[names].to_numpy(),
        malignant=predictions.loc[names, "calibrated"].to_numpy(),
        store=store,
        dicom=evaluated / "01_raw/phantom" / lesions.loc[names[0], "image_path"],
    )


def assert_answers(answers, study):
    for answer, expected, malignant in zip(answers, study.features, study.malignant, strict=True):
        np.testing.assert_allclose(answer["features"], expected, atol=1e-4)
        assert answer["probabilities"]["malignant"] == pytest.approx(malignant, abs=1e-4)


def test_the_first_version_is_champion_with_everything_a_reader_asks_for(
    registry, evaluated, study
):
    assert (registry.first["version"], registry.first["alias"]) == (1, "champion")
    version = registry.client.get_model_version_by_alias(NAME, "champion")
    assert version.tags["data_digest"] == study.store.digest
    assert version.tags["reason"] == "the first model of its name"
    [metrics] = (evaluated / f"07_model_output/{METHOD}/metrics.json").glob("*/metrics.json")
    auc = json.loads(metrics.read_text())["tasks"]["pathology"]["metrics"]["auc"]
    shown = f"{auc['estimate']:.4f} [{auc['lower']:.4f}, {auc['upper']:.4f}]"
    assert version.tags["pathology.auc"] == shown
    assert NOTICE in version.description and NOTICE in version.tags["notice"]
    run = registry.client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["pathology.auc"] == auc["estimate"]
    [logged] = run.outputs.model_outputs
    assert logged.model_id in version.source
    parent = registry.client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.info.run_name == "promote phantom"


def test_the_model_has_signature_example_requirements_and_no_pickle(registry):
    from mlflow.models import Model

    version = registry.client.get_model_version_by_alias(NAME, "champion")
    folder = Path(version.source.removeprefix("file://"))
    model = Model.load(str(folder))
    assert {"image", "dicom", "box"} <= set(model.signature.inputs.input_names())
    assert {"features", "probabilities"} <= set(model.signature.outputs.input_names())
    assert len(model.load_input_example(str(folder))) >= 2
    required = (folder / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in required} == {"mlflow", "numpy", "pandas", "torch"}
    assert all("==" in line for line in required)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pth", ".pt"))]
    assert {"model.pt2", "encoder.safetensors", "probe.npz", "served_model.py"} <= names
    assert NOTICE in (folder / "artifacts/predictor/README.md").read_text()
    for path in folder.rglob("*"):
        if path.suffix in {".json", ".yaml", ".txt", ".md", ""} and path.is_file():
            assert str(PROJECT) not in path.read_text(), path


def test_the_champion_answers_arrays_where_the_package_does_not_exist(registry, study, tmp_path):
    np.save(tmp_path / "crops.npy", study.crops)
    command = [sys.executable, "-I", "-c", ISOLATED, CHAMPION, str(tmp_path / "crops.npy")]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registry.uri}
    run = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    features, answers, refusal = json.loads(run.stdout.splitlines()[-1])
    np.testing.assert_allclose(features, study.features, atol=1e-4)
    assert_answers(answers, study)
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        assert NOTICE in answer["notice"]
    assert "package miram, which is not installed" in refusal


@pytest.fixture(scope="module")
def post(registry):
    """A running server; gives status and content of the answer to rows."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": registry.uri,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
    }
    command = [f"{bin_folder}/mlflow", "models", "serve", "-m", CHAMPION]
    command += ["--env-manager", "local", "--port", str(port)]
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not _answers(f"http://127.0.0.1:{port}/ping"):
            assert server.poll() is None, "the server ended instead of serving"
            time.sleep(0.2)
        yield lambda body: _post(f"http://127.0.0.1:{port}/invocations", body)
    finally:
        server.terminate()
        server.wait()


def _answers(address):
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.status == 200
    except OSError:
        return False


def _post(address, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


def test_the_server_answers_crops_and_dicom_files_as_the_study_did(post, study, evaluated):
    row = study.store.manifest.set_index("crop_id").loc[study.names[0]]
    box = [int(row[f"box_{side}"]) for side in ("x0", "y0", "x1", "y1")]
    rows = [
        *({"image": crop.tolist()} for crop in study.crops),
        {"dicom": encoded(study.dicom), "box": box},
        {"dicom": encoded(study.dicom)},
    ]
    status, content = post({"dataframe_records": rows})
    assert status == 200, content
    answers = content["predictions"]
    assert [answer["kind"] for answer in answers] == ["crop"] * 3 + ["lesion", "tissue"]
    assert all(NOTICE in answer["notice"] for answer in answers)
    assert_answers(answers[:3], study)
    # The lesion's box in the file gives the crop of the study, so the same features.
    np.testing.assert_allclose(answers[3]["features"], study.features[0], atol=1e-4)
    assert answers[3]["squares"] == [
        [int(row[f"crop_{side}"]) for side in ("x0", "y0", "x1", "y1")]
    ]
    assert answers[4]["patches"] == len(answers[4]["squares"]) == 16


def test_what_was_not_taken_as_it_was_sent_is_reported(post, study):
    crop = study.crops[0].tolist()
    broken_lines = base64.encodebytes(study.dicom.read_bytes()).decode()
    rows = [
        {"image": crop, "mask": (0 * study.crops[0]).tolist()},
        {"image": crop},
        {"dicom": broken_lines, "box": [-20, 100, 60, 180]},
        {"dicom": broken_lines, "box": [0, 100, 60, 180]},
        {"image": np.rint(65_535 * study.crops[0]).astype(int).tolist(), "bits": 16},
    ]
    status, content = post({"dataframe_records": rows})
    assert status == 200, content
    notes = [answer["notes"] for answer in content["predictions"]]
    assert notes[1] == notes[4] == []
    [unread], [clipped, *others] = notes[0], notes[2]
    assert others == notes[3]
    assert "the mask was not read" in unread and "only what is inside was taken" in clipped
    features = [answer["features"] for answer in content["predictions"]]
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)
    np.testing.assert_allclose(features[4], features[1], atol=1e-4)
    np.testing.assert_allclose(features[2], features[3], atol=1e-6)


def test_bad_input_gets_a_4xx_that_says_what_to_mend(post, study, tmp_path):
    def of_modality(name):
        dataset = pydicom.dcmread(study.dicom)
        dataset.Modality = name
        dataset.save_as(tmp_path / f"{name}.dcm")
        return tmp_path / f"{name}.dcm"

    crop = study.crops[0].tolist()
    dicom = encoded(study.dicom)
    whole = base64.b64decode(dicom)
    cases = [
        ({"image": study.crops[0][:10].tolist()}, "this model takes crops of 64 x 64"),
        ({"image": [[1, 2], [3]]}, "no array of numbers with lines of equal length"),
        ({"image": (255 * study.crops[0]).tolist()}, "outside [0, 1]"),
        ({"image": crop, "dicom": dicom}, "give image or dicom, one of them"),
        ({"image": crop, "box": [0, 0, 9, 9]}, "box does not go with image"),
        ({"dicom": "%%%"}, "dicom is no base64 text"),
        ({"dicom": base64.b64encode(b"hello").decode()}, "no DICOM header"),
        ({"dicom": base64.b64encode(whole[:-999]).decode()}, "download it again"),
        ({"dicom": dicom, "box": [99_000, 0, 99_010, 9]}, "has no pixel in an image"),
        ({"dicom": dicom, "box": "1234"}, "four numbers of pixels"),
        ({"dicom": dicom, "box": ["1", "2", "30", "40"]}, "four numbers of pixels"),
        ({"dicom": encoded(of_modality("CT"))}, "modality CT: this model reads MG"),
        ({"other": 1}, "give rows with image or dicom"),
    ]
    for row, words in cases:
        status, content = post({"dataframe_records": [row]})
        assert 400 <= status < 500 and words in content, (row.keys(), status, content[-300:])
    assert post(b"no json")[0] == 400
    split = {"columns": [["a"], "mask"], "data": [[crop, crop]]}
    status, content = post({"dataframe_split": split})
    assert status == 400 and "this request cannot be read (unhashable type: 'list')" in content
    for depth in (1000, 100_000):
        for nested in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
            status, content = post(b'{"dataframe_records": [{"image": %s}]}' % nested)
            # How deep Python reads depends on its version.
            refused = "nested too deep" in content or "no array of numbers" in content
            assert status == 400 and refused and "Traceback" not in content
    # A bad request has not harmed the server.
    assert post({"dataframe_records": [{"image": crop}]})[0] == 200


def test_embedding_a_folder_agrees_with_the_server(post, study, evaluated, run_pipeline, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(study.dicom.read_bytes())
    run_pipeline(evaluated, "embed", source="dicom_folder", raw_root=str(folder))
    table = pd.read_parquet(evaluated / "07_model_output/embeddings/features.parquet")
    audit = pd.read_csv(evaluated / "07_model_output/embeddings/features.audit.csv")
    assert len(table) == 1 and not (audit["action"] == "left out").any()
    _, content = post({"dataframe_records": [{"dicom": encoded(study.dicom)}]})
    [answer] = content["predictions"]
    features = table[[f"f{k}" for k in range(len(answer["features"]))]].to_numpy()[0]
    np.testing.assert_allclose(answer["features"], features, atol=1e-4)
    malignant = answer["probabilities"]["malignant"]
    assert malignant == pytest.approx(table["p_malignant"][0], abs=1e-4)


def test_the_command_embeds_with_a_registered_model_and_with_an_encoders_file(
    registry, study, evaluated, project, tmp_path, monkeypatch, capsys
):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a.dcm").write_bytes(study.dicom.read_bytes())
    [encoder] = (evaluated / f"06_models/{METHOD}/encoder.safetensors").glob("*/*.safetensors")
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tables = {}
    for name, model in (("registered", CHAMPION), ("file", str(encoder))):
        out = tmp_path / f"{name}.parquet"
        place = ("--env", "test", "--data-root", evaluated)
        command = ("embed", tmp_path / "new", "--model", model, "--out", out, *place)
        assert call_miram(*command, "--workers", 1, "--json") == 0
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (result["mammograms"], result["rows"], result["left_out"]) == (1, 1, 0)
        tables[name] = pd.read_parquet(out)
    names = [name for name in tables["file"] if name[0] == "f" and name[1:].isdigit()]
    np.testing.assert_allclose(tables["file"][names], tables["registered"][names], atol=1e-5)
    assert "p_malignant" in tables["registered"] and "p_malignant" not in tables["file"]
    reported = tables["registered"].attrs
    version = registry.client.get_model_version_by_alias(NAME, "champion")
    assert reported["model"] == f"models:/{NAME}/{version.version}"
    assert reported["predictor_digest"] == version.tags["predictor_digest"]
    assert NOTICE in reported["notice"] and tables["file"].attrs["model"] == "encoder.safetensors"


def test_a_second_version_challenges_is_forced_and_rolled_back(own, tmp_path):
    promote, registry = own.promote, own.register()
    client = registry.client
    second = promote()
    assert (second["alias"], second["version"]) == ("challenger", 2)
    assert second["comparison"]["difference"] == 0
    assert "not shown to be better" in second["reason"]
    assert client.get_model_version_by_alias(NAME, "champion").version == 1
    wanted = {"modalities": "MG+CR"}
    third = promote(force=True, because="we changed our mind", wanted=wanted)
    assert (third["alias"], third["version"]) == ("champion", 3)
    assert client.get_model_version_by_alias(NAME, "champion").version == 3
    reported = client.get_model_version(NAME, "3")
    assert (
        reported.tags["because"] == "we changed our mind" and reported.tags["compared_with"] == "1"
    )
    assert (
        "forced" in reported.description and "comparison 2 under this name" in reported.description
    )
    assert client.get_model_version(NAME, "1").tags["succeeded_by"] == "3"
    folder = Path(reported.source.removeprefix("file://")) / "artifacts/predictor"
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["wanted"] == {
        "modalities": ["MG", "CR"],
        "for_processing": False,
        "special": [],
    }
    assert "MG or CR" in (folder / "README.md").read_text()
    assert reported.tags["predictor_digest"] == Predictor.load(folder).digest()

    uri = registry.uri
    assert roll_back(METHOD, 1, "it was better", uri) == f"models:/{NAME}/1"
    assert client.get_model_version_by_alias(NAME, "champion").version == 1
    assert (
        "rolled back to version 1: it was better" in client.get_model_version(NAME, "3").description
    )
    assert "Champion again instead of version 3" in client.get_model_version(NAME, "1").description
    with pytest.raises(MiramError, match="is the champion already"):
        roll_back(METHOD, 1, "again", uri)
    with pytest.raises(MiramError, match="has no version 9: there are 1, 2, 3"):
        roll_back(METHOD, 9, "never", uri)

    # What docs/models.md says, word for word, in a folder whose data are those of this study.
    page = (PROJECT / "docs/models.md").read_text().partition("## Serve")[0]
    [reported] = re.findall(r"```\n(export .*?)```", page, re.DOTALL)
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    environment = {name: text for name, text in os.environ.items() if "MLFLOW" not in name}
    script = f"{reported}\n{shlex.quote(sys.executable)} - <<'CODE'\n{code}CODE\n"
    command = ["bash", "-c", script]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert client.get_model_version_by_alias(NAME, "champion").version == 2
    assert [path.name for path in tmp_path.iterdir()] == ["data"], "nothing is left behind"


def test_without_the_champions_predictions_nobody_is_promoted(own):
    promote, registry = own.promote, own.register()
    version = registry.client.get_model_version_by_alias(NAME, "champion")
    artifacts = registry.client.get_run(version.run_id).info.artifact_uri
    Path(artifacts.removeprefix("file://"), "predictions.parquet").unlink()
    done = promote()
    assert done["alias"] == "challenger"
    assert f"the predictions of version {version.version} are gone" in done["reason"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "miram_nistrom"}, "there is no method 'miram_nistrom': one of random"),
        ({"method": UNTRAINED}, f"{UNTRAINED} has no model under"),
        ({"task": "calc_type"}, "was not evaluated on task calc_type"),
        ({"tusk": "pathology"}, "no setting tusk; did you mean task"),
    ],
)
def test_a_mistake_is_named_and_registers_nothing(registry, promote, options, words):
    before = len(registry.client.search_model_versions(f"name='{NAME}'"))
    with pytest.raises((MiramError, DatasetError, ParameterValidationError), match=words):
        promote(**options)
    assert len(registry.client.search_model_versions(f"name='{NAME}'")) == before


def test_features_of_another_encoder_are_refused(own, run_pipeline):
    run_pipeline(own.data, "pretrain", namespaces=[METHOD], training={"epochs": 1, "seed": 7})
    with pytest.raises(MiramError, match="stored features are of another state of encoder"):
        own.promote()
