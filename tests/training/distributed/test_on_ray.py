"""The Ray engine on this machine: few launches, each of which shows several promises."""

import logging
import os
import signal
import threading
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest
import tiny
import torch
from tiny import ENCODER, make_store

from miram.errors import MiramError
from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.mammography.sources.cbis_ddsm.source import CbisDdsmSource
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.distributed.cluster import EngineConfig, cropping_backend, shared_cluster
from miram.training.distributed.launch import launch
from miram.training.pretrain import pretrain

ray = pytest.importorskip("ray")

# Half a core each, so that two workers fit on any machine.
TWO = EngineConfig(kind="ray", num_workers=2, resources={"CPU": 0.5}, max_failures=1)


METHOD = MaskedAutoencoderConfig(
    decoder_dim=32,
    decoders=({"scale": 2, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2},),
)
TRAINING = tiny.TRAINING.model_copy(update={"epochs": 2})


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One cluster for all tests of this file; the first launch starts it."""
    patch = pytest.MonkeyPatch()
    patch.delenv("RAY_ADDRESS", raising=False)
    patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    with shared_cluster():
        yield
    patch.undo()
    assert not ray.is_initialized()


@dataclass
class Listener(logging.Handler):
    """Remembers what is reported, and on which thread; may act on it."""

    act: object = None
    heard: list = field(default_factory=list)
    threads: set = field(default_factory=set)

    def __post_init__(self):
        super().__init__()

    __hash__ = logging.Handler.__hash__

    def emit(self, record):
        self.threads.add(threading.get_ident())
        self.heard.append((record.step, record.metrics))
        if self.act:
            self.act()


@pytest.fixture
def listen():
    logger, listeners = logging.getLogger("miram_telemetry"), []

    def start(act=None):
        listeners.append(Listener(act))
        logger.addHandler(listeners[-1])
        return listeners[-1]

    yield start
    for listener in listeners:
        logger.removeHandler(listener)


@pytest.fixture
def store(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**16, (24, 32, 32), np.uint16)
    return make_store(tmp_path / "crops", pixels)


def flat(weights):
    return torch.cat([weights[name].float().flatten() for name in sorted(weights)])


# Workers cannot import this file, so that what they run is made within functions.


def pretraining_that_loses_a_worker(marker):
    def run(*arguments, **named):
        import logging
        import os
        import signal

        from miram.training.logging.telemetry import LOGGER
        from miram.training.pretrain import pretrain

        class KillOnce(logging.Handler):
            def emit(self, record):
                if record.step == 4 and not marker.exists():
                    marker.write_text(os.environ["RANK"])
                    os.kill(os.getpid(), signal.SIGKILL)

        LOGGER.addHandler(KillOnce())
        return pretrain(*arguments, **named)

    return run


def test_two_workers_one_of_them_killed_train_to_the_weights_of_one(
    store, tmp_path, listen, caplog
):
    caplog.set_level(logging.INFO, logger="miram")
    arguments = (store, np.arange(24), ENCODER, METHOD, TRAINING)
    one = pretrain(*arguments)
    listener, marker = listen(), tmp_path / "killed"
    folder = TrainingFolder(tmp_path / "training")
    run = pretraining_that_loses_a_worker(marker)
    two = launch(run, *arguments, folder=folder, engine=TWO)
    assert marker.read_text() == "0"

    assert two.history["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert two.history["loss"].to_numpy() == pytest.approx(one.history["loss"], rel=1e-4)
    assert two.encoder.metadata["hardware"]["processes"] == 2
    start = flat(METHOD.build(ENCODER, TRAINING.seed).encoder.state_dict())
    ends = [flat(result.encoder.state) for result in (one, two)]
    assert (ends[0] - ends[1]).norm() < 0.01 * (ends[0] - start).norm()

    # Metrics come in order and on this thread, from one of the two; the killed one's last may
    # be lost, and the second start goes on from the checkpoint after step 3.
    steps = [step for step, _ in listener.heard]
    assert steps[-3:] == [4, 5, 6] and steps[:-3] == [1, 2, 3, 4][: len(steps) - 3]
    assert listener.threads == {threading.get_ident()}
    assert "workers: 2, threads of each: 1" in caplog.messages
    assert "resuming after step 3 of 6" in caplog.messages  # a line of the worker
    (reported,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert reported.startswith("worker 0 died")
    assert reported.endswith("all start again, 1 of 1 times allowed")


def pretraining_that_ends_in_one_worker():
    def run(*arguments, **named):
        import os

        import torch
        from accelerate import Accelerator

        from miram.training.checkpointing.interruption import TrainingInterrupted
        from miram.training.logging.telemetry import log_metrics
        from miram.training.pretrain import pretrain

        processes = Accelerator(cpu=True).gather(torch.tensor([float(os.getpid())]))
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        reported = {f"process{rank}": float(one) for rank, one in enumerate(processes)}
        log_metrics(0, {**reported, "hidden": float(hidden), "niceness": float(os.nice(0))})
        try:
            pretrain(*arguments, **named)
        except TrainingInterrupted:
            if os.environ["RANK"] == "0":
                torch.distributed.barrier()  # the other one never comes
            raise

    return run


def test_a_signal_stops_all_workers_and_the_error_of_one_is_enough(store, tmp_path, listen):
    before = signal.getsignal(signal.SIGTERM)
    listener = listen()
    listener.act = lambda: len(listener.heard) == 3 and signal.raise_signal(signal.SIGTERM)
    training = TRAINING.model_copy(update={"epochs": 10_000})
    arguments = (store, np.arange(24), ENCODER, METHOD, training)
    folder = TrainingFolder(tmp_path / "training")
    run = pretraining_that_ends_in_one_worker()
    with pytest.raises(TrainingInterrupted) as found:
        launch(run, *arguments, folder=folder, engine=TWO)
    (_, processes), *steps = listener.heard
    assert processes.pop("hidden") == 1  # who asked for no GPU sees none
    assert processes.pop("niceness") == os.nice(0)  # as urgent as any other program
    assert len(set(processes.values())) == 2
    last = steps[-1][0]
    assert [step for step, _ in steps] == list(range(1, last + 1))  # reported once: no second start
    assert str(found.value).startswith(f"stopped by SIGTERM after step {last} of 30000; ")
    assert (tmp_path / "training" / f"step-{last:09d}.pt").exists()
    assert found.value.exit_code == 143
    assert found.value.__cause__ is None
    assert signal.getsignal(signal.SIGTERM) is before
    first = int(processes["process0"])
    if psutil.pid_exists(first):  # it waits for the other one, for half an hour if it is let
        assert psutil.wait_procs([psutil.Process(first)], timeout=60)[1] == []


def test_more_workers_than_this_machine_holds_are_refused():
    many = TWO.model_copy(update={"resources": {"CPU": 0.5, "GPU": 64.0}})
    with pytest.raises(MiramError, match=r"2 workers need 128 GPU \(there are \d+\)"):
        launch(print, engine=many)


def test_crops_cut_by_ray_are_the_same_bytes(tiny_phantom, tmp_path):
    lesions = CbisDdsmSource().ingest(tiny_phantom).lesions
    config = CropConfig(image_size=32, context=1.25, backgrounds_per_image=1)
    here = build_crop_store(plan_crops(lesions, tiny_phantom, config), tmp_path / "here" / "crops")
    with cropping_backend(TWO):
        plan = plan_crops(lesions, tiny_phantom, config, workers=-1)
        there = build_crop_store(plan, tmp_path / "there" / "crops")
    assert there.digest == here.digest
