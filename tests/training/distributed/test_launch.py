import logging
import pickle
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import yaml
from project_paths import PROJECT
from tiny import make_store

from miram.errors import MiramError
from miram.training.checkpointing.interruption import (
    TrainingInterrupted,
    asked_to_stop,
    passing_signals_on,
)
from miram.training.distributed.cluster import EngineConfig
from miram.training.distributed.launch import launch, log_again

DOCS = PROJECT / "docs"
CLUSTER_FILES = sorted((DOCS / "clusters").iterdir())


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_local_runs_here_and_gives_back_what_the_function_gives():
    def function(*args, **kwargs):
        return threading.get_ident(), args, kwargs

    found = launch(function, 1, 2, engine=EngineConfig(), x=3)
    assert found == (threading.get_ident(), (1, 2), {"x": 3})


def test_local_never_imports_ray():
    run = python(
        "import sys\n"
        "from joblib import Parallel, delayed\n"
        "from miram.training.distributed.cluster import EngineConfig, cropping_backend\n"
        "from miram.training.distributed.cluster import shared_cluster\n"
        "from miram.training.distributed.launch import launch\n"
        "with shared_cluster(), cropping_backend(EngineConfig()):\n"
        "    jobs = Parallel(n_jobs=2)(delayed(abs)(-n) for n in range(3))\n"
        "    print(launch(sum, jobs, engine=EngineConfig()), 'ray' in sys.modules)\n"
    )
    assert run.stdout.split() == ["3", "False"], run.stderr


@pytest.mark.parametrize(
    "use", ["launch(print, engine=engine)", "cropping_backend(engine).__enter__()"]
)
def test_without_ray_the_error_says_what_to_install(use):
    run = python(
        "import sys; sys.modules['ray'] = None\n"
        "from miram.errors import MiramError\n"
        "from miram.training.distributed.cluster import EngineConfig, cropping_backend\n"
        "from miram.training.distributed.launch import launch\n"
        "engine = EngineConfig(kind='ray')\n"
        f"try: {use}\n"
        "except MiramError as error: print(error)\n"
    )
    assert "pip install -c constraints.txt -e '.[distributed]'" in run.stdout, run.stderr


@pytest.mark.parametrize("setting", [{"num_workers": 2}, {"address": "auto"}])
def test_what_only_ray_can_do_is_refused_without_it(setting):
    (name,) = setting
    with pytest.raises(MiramError, match=rf"engine\.{name} needs engine\.kind=ray"):
        EngineConfig.model_validate(setting)
    assert EngineConfig.model_validate({"kind": "ray", **setting})


@pytest.mark.parametrize("resources", [{"GPU": 0}, {"CPU": -1}])
def test_a_worker_cannot_need_nothing_of_a_resource(resources):
    with pytest.raises(MiramError, match="greater than 0"):
        EngineConfig.model_validate({"kind": "ray", "resources": resources})


def test_the_first_signal_asks_every_thread_and_the_second_acts(heeds_ctrl_c):
    with passing_signals_on():
        assert asked_to_stop() is None
        signal.raise_signal(signal.SIGINT)
        found = []
        thread = threading.Thread(target=lambda: found.append(asked_to_stop()))
        thread.start()
        thread.join()
        assert found == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert asked_to_stop() is None


def test_after_the_wish_to_stop_nothing_is_started():
    code = (
        "import signal, sys\n"
        "from miram.training.distributed.cluster import EngineConfig\n"
        "from miram.training.distributed.launch import launch\n"
        "from miram.training.checkpointing.interruption import ask_to_stop\n"
        "ask_to_stop(signal.SIGTERM)\n"
        "try: launch(print, engine=EngineConfig(kind='ray'))\n"
        "except Exception as error: print(error, error.exit_code, 'ray' in sys.modules)\n"
    )
    run = python(code)
    assert run.stdout.startswith("stopped by SIGTERM"), run.stderr
    assert run.stdout.split()[-2:] == ["143", "False"]


def test_the_error_of_an_interruption_travels_with_its_exit_code():
    error = TrainingInterrupted("stopped after step 3", 130)
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), found.exit_code) == (TrainingInterrupted, str(error), 130)


def test_a_record_logged_again_obeys_the_levels_set_here():
    heard, handler, logger = [], logging.Handler(), logging.getLogger("miram.somewhere")
    handler.emit = heard.append
    logger.addHandler(handler)
    record = logging.LogRecord(logger.name, logging.INFO, "file.py", 1, "step 3", None, None)
    for level in (logging.INFO, logging.WARNING):
        logger.setLevel(level)
        log_again(record)
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    assert heard == [record]


def test_a_crop_store_travels_without_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**16, (40, 64, 64), np.uint16)
    sent = pickle.dumps(make_store(tmp_path / "crops", pixels))
    assert len(sent) < pixels.nbytes / 100
    assert np.array_equal(pickle.loads(sent).crops, pixels)


def engine_settings(text):
    """Settings as they stand behind --params; shell variables count as 2."""
    found = {}
    for name, value in re.findall(r"\bengine\.([\w.]+)=([\w$:.-]+)", text):
        place, *path = name.split(".")
        value = re.sub(r"\$\w+", "2", value)
        target = found
        for step in path:
            target = target.setdefault(place, {})
            place = step
        target[place] = value
    return found


@pytest.mark.parametrize("path", [DOCS / "clusters.md", *CLUSTER_FILES], ids=lambda path: path.name)
def test_the_settings_named_in_the_guide_exist(path):
    commands = [line for line in path.read_text().splitlines() if "engine." in line]
    assert commands
    for command in commands:
        assert EngineConfig.model_validate({"kind": "ray", **engine_settings(command)})
    if path.suffix == ".md":
        table = set(re.findall(r"^\| `engine\.(\w+)` ", path.read_text(), re.MULTILINE))
        assert table == set(EngineConfig.model_fields)


def test_the_slurm_script_is_a_shell_script():
    script = DOCS / "clusters" / "slurm.sbatch"
    run = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(("restarts", "expected"), [("0", "false"), ("2", "true")])
def test_a_job_that_is_queued_again_resumes_though_its_first_start_was_afresh(restarts, expected):
    text = (DOCS / "clusters" / "slurm.sbatch").read_text()
    block = text[text.index("parameters+=") : text.index("\ntrap")]
    settings = {"PARAMS": "training.resume=false,training.seed=1", "SLURM_RESTART_COUNT": restarts}
    script = f"set -euo pipefail\ngpus=0 parameters=a=1 workers=1\n{block}\necho $parameters"
    run = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env={"SLURM_CPUS_PER_TASK": "1", "cpus": "1", **settings},
    )
    assert run.stdout.strip().endswith(f",training.resume={expected},training.seed=1"), run.stderr


def test_the_kubernetes_file_names_one_image_one_volume_and_the_cluster_it_makes():
    cluster, job = yaml.safe_load_all((DOCS / "clusters" / "kuberay.yaml").read_text())
    assert (cluster["kind"], job["kind"]) == ("RayCluster", "RayJob")
    assert job["spec"]["clusterSelector"]["ray.io/cluster"] == cluster["metadata"]["name"]
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    claims = [
        {
            mount["mountPath"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            for mount in pod["containers"][0]["volumeMounts"]
            if volume["name"] == mount["name"] and "persistentVolumeClaim" in volume
        }
        for pod in pods
    ]
    assert claims[0] and all(found == claims[0] for found in claims)
    (shared,) = claims[0]
    assert f"data_root={shared}/" in job["spec"]["entrypoint"]
