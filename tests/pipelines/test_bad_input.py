"""Bad input ends in one clear message before any long work, with an exit status that is not 0."""

import logging
import re
import shutil
import signal

import numpy as np
import pytest
from click.testing import CliRunner
from dicom_files import write_dicom
from kedro.framework.startup import bootstrap_project
from miram_command import run_kedro
from skimage.io import imsave

from miram.cli import cli
from miram.integrations.run_log import RunLog


@pytest.fixture
def kedro(project, monkeypatch, caplog):
    """`kedro run`, in this process: its exit status and all that it printed and logged."""
    monkeypatch.chdir(project)
    bootstrap_project(project)

    def run(*arguments):
        caplog.clear()
        with caplog.at_level("INFO"):
            done = CliRunner().invoke(cli, ["run", "--env", "test", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output + caplog.text

    return run


def params(**values):
    return ["--params", ",".join(f"{name}={value}" for name, value in values.items())]


def test_each_mistake_is_named(kedro, tmp_path):
    empty, missing = tmp_path / "empty", tmp_path / "missing"
    empty.mkdir()
    root = {"data_root": tmp_path / "data"}
    cases = [
        (params(source="cbis_ddsm", raw_root=missing, **root), f"{missing} does not exist"),
        (params(source="cbis_ddsm", raw_root=empty, **root), f"{empty} is empty"),
        (params(source="cbis_ddsm", raw_root=2024, **root), "/2024 does not exist"),
        (params(source="cbis_ddsm", raw_root="007", **root), "/007 does not exist"),
        (params(source="cbis_ddsm", **root), "needs raw_root"),
        (params(source="imagetable", **root), "unknown source 'imagetable': choose one of phantom"),
        (params(source="cbis_dsm", raw_root=empty, **root), "unknown source 'cbis_dsm'"),
        (params(sourc="phantom", **root), "did you mean source"),
        (params(**{"training.epochz": 3}, **root), "did you mean epochs"),
        (params(**{"encoder.image_size": 60}, **root), "64 would be"),
        (params(**{"encoder.overrides.dept": 3}, **root), "did you mean depth"),
        (params(**{"encoder.name": "vit_small_patch16_dinov3"}, **root), "class Eva"),
        (params(**{"encoder.image_size": 64}, **root), "a method that takes 128"),
        (["--pipeline", "pretrain", "--namespaces", "miram_nystrum", *params(**root)], "nystrum"),
        (
            ["--pipeline", "ingest", *params(**{"training.epochz": 3}, **root)],
            "did you mean epochs",
        ),
        (["--pipeline", "pretrian", *params(**root)], "pretrain"),
        (["--runner", "ParallelRunner", *params(**root)], "ParallelRunner"),
        (
            ["--pipeline", "pretrain", *params(**root)],
            f"crops has not been made yet in {tmp_path}",
        ),
        (
            ["--env", "real_small", "--pipeline", "ingest", *params(raw_root=missing, **root)],
            "settings: real_small; source: image_table; data_root: ",
        ),
        (["--env", "mylab", *params(**root)], "there is no environment 'mylab': one of attention"),
    ]
    for arguments, message in cases:
        status, reported = kedro(*arguments)
        assert status != 0, arguments
        assert message in reported, (arguments, reported)
        assert "Running node" not in reported, (arguments, reported)


@pytest.mark.parametrize("place", ["docs", "."])
def test_an_environment_that_is_not_there_is_named_from_any_folder(project, monkeypatch, place):
    monkeypatch.chdir(project / place)
    monkeypatch.setenv("KEDRO_ENV", "mylab")
    bootstrap_project(project)
    for given in ([], ["--env", "mylab"]):
        done = CliRunner().invoke(cli, ["run", *given])
        assert done.exit_code == 1
        assert "Error: there is no environment 'mylab': one of attention_sweep" in done.output


@pytest.fixture(scope="module")
def lab_data(tmp_path_factory, run_pipeline):
    """What is left of the ingestion of a folder of one film, and the folder."""
    films, root = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("lab_data")
    write_dicom(films / "a.dcm", PatientID="p")
    run_pipeline(root, "ingest", source="dicom_folder", raw_root=str(films))
    return root, films


@pytest.mark.parametrize("pipeline", [[], ["--pipeline", "ingest"], ["--pipeline", "report"]])
def test_a_study_is_neither_replaced_nor_described_as_one_of_another_source(
    kedro, lab_data, pipeline
):
    root, _ = lab_data
    before = (root / "02_intermediate/lesions.parquet").read_bytes()
    status, reported = kedro(*pipeline, *params(data_root=root))
    assert status != 0 and "Running node" not in reported
    words = f"{root} holds a study of source dicom_folder, and this run says source phantom"
    assert words in reported and "--env" in reported
    assert (root / "02_intermediate/lesions.parquet").read_bytes() == before


def test_a_study_can_be_made_again_from_its_own_source(kedro, lab_data):
    root, films = lab_data
    again = params(source="dicom_folder", raw_root=films, data_root=root)
    assert kedro("--pipeline", "ingest", *again)[0] == 0
    record = root / "02_intermediate/source.json"
    record.write_text("{")
    status, reported = kedro("--pipeline", "ingest", *again)
    assert status != 0 and f"{record} is damaged" in reported and "Traceback" not in reported
    record.unlink()
    assert kedro("--pipeline", "ingest", *again)[0] == 0


def test_a_mistake_ends_the_program_in_a_message_without_a_traceback(project, tmp_path):
    run = run_kedro("run", *params(sourc="x", data_root=tmp_path), folder=project)
    assert run.returncode == 1
    assert "did you mean source" in run.stderr and "Traceback" not in run.stderr


def test_a_table_without_a_needed_column_is_named(kedro, tmp_path, shared_data):
    raw = tmp_path / "raw"
    raw.mkdir()
    name = "mass_case_description_test_set.csv"
    text = (shared_data / "cbis_ddsm/csv" / name).read_text()
    (raw / name).write_text(text.replace("pathology", "patology", 1))
    status, reported = kedro(*params(source="cbis_ddsm", raw_root=raw, data_root=tmp_path / "data"))
    assert status != 0
    assert reported.count("no column 'pathology'") == 1
    assert "Node ingest_lesions did not finish" in reported
    shutil.rmtree(raw)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_is_no_error_and_gives_one_hint(kedro, tmp_path):
    class Stop(logging.Handler):
        def emit(self, record):
            if "Running node" in record.getMessage():
                signal.raise_signal(signal.SIGINT)

    logger, stop = logging.getLogger(RunLog.__module__), Stop()
    logger.addHandler(stop)
    try:
        status, reported = kedro(*params(data_root=tmp_path / "data"))
    finally:
        logger.removeHandler(stop)
    assert status == 128 + signal.SIGINT
    assert reported.count("the same command resumes from what is finished") == 1
    assert "Error" not in reported and "--from-nodes" not in reported


def test_without_labels_nothing_is_trained_before_that_is_reported(kedro, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    texture = np.random.default_rng(0).integers(80, 200, (6, 400, 300), dtype=np.uint8)
    texture[:, :, 200:] = 0
    for number, image in enumerate(texture):
        imsave(raw / f"{number}.png", image)
    rows = [f"{number}.png,patient {number}" for number in range(6)]
    (raw / "table.csv").write_text("\n".join(["image_path,patient_id", *rows]))
    given = {"source": "image_table", "raw_root": raw, "data_root": tmp_path / "data"}
    given["sources.image_table.table"] = "table.csv"
    status, reported = kedro(*params(**given))
    assert status != 0
    assert "cannot learn task 'pathology': no lesion has a value of pathology" in reported
    assert "Running node: ingest_lesions" in reported
    assert "pretrain_encoder" not in reported.replace("--from-nodes", "")
    status, made = kedro("--pipelines", "ingest,rois", *params(**given))
    assert status == 0, made
    (others,) = re.findall(r"--namespaces ([\w,]+)`", reported)
    assert "supervised" not in others
    _, reported = kedro("--pipeline", "pretrain", *params(**given))
    assert "cannot learn task" in reported
    assert "Running node" not in reported


def test_a_closed_or_full_disk_ends_a_run_in_one_sentence(project, small_disk, read_only_disk):
    for disk, words in (
        (small_disk, "No space left on device; make"),
        (read_only_disk, "Read-only"),
    ):
        command = ("run", "--pipeline", "phantom", "--env", "test", *params(data_root=disk))
        run = run_kedro(*command, folder=project)
        assert run.returncode == 1
        assert "Traceback" not in run.stdout + run.stderr
        assert f"Error: cannot write {disk}" in run.stderr and words in run.stderr
