"""The training loop: one step's code fits on a screen.

Order, augmentation and whatever a model draws follow from the seed and the number of the step.
So the state of a training is its weights, the optimizer and that number, and a training that was
interrupted ends with the weights of one that was not.
"""

import copy
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from miram.errors import MiramError
from miram.memory import forget_peak
from miram.training.activation_checkpointing import recompute_activations
from miram.training.checkpointing.folder import State
from miram.training.checkpointing.interruption import Interruption
from miram.training.checkpointing.manager import BestWeights, CheckpointManager, Checkpoints
from miram.training.config import AUTO, LAST, TrainingConfig
from miram.training.data.batches import (
    HostBatch,
    InputSpec,
    Prefetched,
    Samples,
    make_batch,
    prefetch,
    resident_bytes,
)
from miram.training.data.sampling import steps_from
from miram.training.device import (
    check_ranks_agree,
    determinism,
    make_accelerator,
    precision_of,
    processes_here,
)
from miram.training.distributed.global_normalization import normalized_together
from miram.training.gradients import Gradients, room_for_moments
from miram.training.logging.history import Facts, Trained, facts_of
from miram.training.logging.recorder import Metrics, Recorder
from miram.training.logging.telemetry import ValidationCallback, log_metrics
from miram.training.memory_budget import plan_budget
from miram.training.nonfinite import BadStep, describe_nonfinite
from miram.training.optimizer import learning_rate_factor, make_optimizer

log = logging.getLogger(__name__)

# A scale of fp16 that was halved so often is far below 1: the gradient itself is not finite.
_MOST_OVERFLOWS = 20

# Threads of one process share the device and accelerate's state: they train one after another.
_ONE_AT_A_TIME = threading.Lock()


def train(
    model: nn.Module,
    crops: NDArray[np.uint16],
    image_size: int,
    config: TrainingConfig,
    *,
    rows: NDArray[np.int64] | None = None,
    labels: NDArray[np.int64] | None = None,
    lesion: NDArray[np.uint8] | None = None,
    checkpoints: Checkpoints | None = None,
    validate: ValidationCallback | None = None,
) -> Trained:
    """Train a model, from the beginning or from where an interrupted training stopped.

    It ends with its last weights, or with those that had the highest `config.select`.

    Args:
        model: What it is called with, and what it returns: `miram.training.data.batches`.
        crops: (N, H, H) uint16, perhaps an array in a file.
        image_size: Of the images the model takes, in pixels; it divides H.
        config: The budget.
        rows: (n,) positions of the crops to train on; all by default.
        labels: (n,) classes or (n, K) of 0 and 1, for a model that needs them.
        lesion: (n, h, h) uint8 coverage by the lesion, for a model that needs it.
        checkpoints: Where the state is kept to resume from; None keeps nothing.
        validate: Called every `config.validate_every` epochs.

    Raises:
        MiramError: There are fewer crops than a batch, memory does not hold one sample, the
            loss is not finite, an interrupted training had other settings, or validation did not
            give the metric to select by.
        TrainingInterrupted: SIGTERM or Ctrl-C; the state is kept.
    """
    rows = np.arange(len(crops)) if rows is None else np.asarray(rows)
    _check(crops, rows, image_size, config)
    with ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)
        config = _with_micro_batches(model, crops, rows, image_size, config)
        stack.enter_context(torch.random.fork_rng())
        if config.deterministic:
            stack.enter_context(determinism())
        if config.activation_checkpointing:
            stack.enter_context(recompute_activations(model))
        interruption = stack.enter_context(Interruption())
        facts = facts_of(config)
        arrays = (crops, rows, labels, lesion)
        training = Training(model, arrays, image_size, config, checkpoints, validate, facts)
        if training.accelerator.num_processes > 1:
            stack.enter_context(normalized_together(model))
        training.interruption = interruption
        training.run()
        return Trained(training.recorder.history(), training.facts)


class Training:
    """A training under way: what changes from step to step, and how to keep and restore it.

    Arguments are those of `train`; `arrays` are crops, rows, labels and lesion.
    """

    def __init__(
        self,
        model: nn.Module,
        arrays: tuple[Any, ...],
        image_size: int,
        config: TrainingConfig,
        checkpoints: Checkpoints | None,
        validate: ValidationCallback | None,
        facts: Facts,
    ) -> None:
        self.config, self.image_size, self.facts = config, image_size, facts
        self.validate, self.identity = validate, checkpoints.identity if checkpoints else {}
        self.spec = InputSpec.of(model)
        self.on_step: list[Any] = [m.on_step for m in model.modules() if hasattr(m, "on_step")]
        self.accelerator = make_accelerator(config)
        device, first = self.accelerator.device, self.accelerator.is_main_process
        self.model = model.to(device)
        forget_peak(device)  # that of earlier trainings and of sizes tried
        if config.compile:
            self.model.compile()
        self.optimizer = make_optimizer(model, config.optimizer, config.samples_per_step)
        self.peak = [group["lr"] for group in self.optimizer.param_groups]
        decay = config.ema_decay
        self.average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
        )
        self.best = BestWeights(config.select) if config.select != LAST else None
        self.stepper = self.accelerator.prepare(self.optimizer)
        several = self.accelerator.num_processes > 1
        caller = DistributedDataParallel(model) if several else model
        self.gradients = Gradients(caller, self.accelerator, config, self.spec, self._batch)
        crops, rows, labels, lesion = arrays
        labels = labels if self.spec.needs_labels else None
        lesion = lesion if self.spec.needs_lesion else None
        self.samples = Samples.place(crops, rows, labels, lesion, device, config.crop_cache)
        self.steps_per_epoch = len(rows) // config.samples_per_step
        self.total = self.steps_per_epoch * config.epochs
        self.step = 0
        self.overflows = torch.zeros((), device=device)  # in a row, under fp16
        self.interruption, self.stopping = Interruption(), False
        self.recorder = Recorder(config, self.total, self._mean, device=device, speaks=first)
        self.checkpoints = CheckpointManager(
            checkpoints, config, len(rows), precision_of(self.accelerator), facts, writes=first
        )

    def run(self) -> None:
        """Take all steps that are left, and settle what the result is."""
        finished = self._restore()
        folder = self.checkpoints.folder
        check_ranks_agree(self.accelerator, self.step, folder.path if folder else None)
        self.model.train()
        if not finished:  # an interrupted one may have all its steps behind it
            with self.recorder.display.running():
                for step in self._prefetched():
                    self._take(step)
                    self._validate_and_keep()
            self._end()
        if self.accelerator.device.type != "cpu":  # there it only costs a collection of garbage
            self.accelerator.free_memory()

    def _prefetched(self) -> Iterator[Prefetched]:
        config = self.config
        samples = len(self.samples.rows)
        steps = steps_from(self.step, config.seed, samples, config.samples_per_step, config.epochs)
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        return prefetch(steps, self.samples, self.spec, config.seed, rank, processes)

    def _take(self, prefetched: Prefetched) -> None:
        """Take one step: all micro-batches forward and backward, then the optimizer."""
        step, config = prefetched.step, self.config
        warmup = config.optimizer.warmup_epochs * self.steps_per_epoch
        factor = learning_rate_factor(step.number, warmup, self.total)
        for group, lr in zip(self.optimizer.param_groups, self.peak, strict=True):
            group["lr"] = lr * factor
        for on_step in self.on_step:
            on_step(step.number, self.total)
        before = [b.clone() for b in self.model.buffers()] if config.on_nan == "skip" else []
        metrics = self.gradients.add(prefetched)
        norm = self._clip()
        bad = self._bad(norm, metrics)
        if self.accelerator.scaler is None:
            # The fused optimizer leaves weights alone where this is 1, without a wait for it.
            self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        with room_for_moments(self.accelerator.device):
            self.stepper.step()
        self.optimizer.zero_grad()
        lr = max(self.peak) * factor
        if self._any_bad(bad):
            for buffer, value in zip(self.model.buffers(), before, strict=False):
                buffer.copy_(value)  # such as the running means of a norm
            self._leave_out(prefetched, lost=not torch.isfinite(metrics["loss"]))
            self.recorder.leave_out(step.number + 1, step.epoch, lr, prefetched.waited)
        else:
            metrics["gradient_norm"] = norm
            if self.accelerator.scaler is not None:
                metrics["overflow"] = (self.overflows > 0).float()
            if self.average:
                self.average.update_parameters(self.model)
            self.recorder.add(step.number + 1, step.epoch, metrics, lr, prefetched.waited)
        self.step = step.number + 1

    def _batch(self, batch: HostBatch) -> dict[str, Any]:
        augmentation = self.config.augmentation
        return make_batch(self.samples, batch, self.image_size, self.spec, augmentation)

    def _clip(self) -> Tensor:
        """Norm of the gradient, which is cut down to the greatest allowed."""
        self.accelerator.unscale_gradients()
        trained = list(self.model.parameters())
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.config.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(trained, self.config.optimizer.clip_norm, norm)
        return norm

    def _mean(self, value: Tensor) -> Tensor:
        """Mean over all processes."""
        if self.accelerator.num_processes == 1:
            return value
        mean: Tensor = self.accelerator.reduce(value, "mean")
        return mean

    # Between steps

    def _validate_and_keep(self) -> None:
        ends_epoch = self.step % self.steps_per_epoch == 0
        epoch = self.step // self.steps_per_epoch
        every = self.config.validate_every
        if every and ends_epoch and epoch % every == 0:
            self._validate()
        alone = self.accelerator.num_processes == 1
        if self.stopping or (alone and self.interruption.signal):
            kept = self.checkpoints.save(self.state())
            self.accelerator.wait_for_everyone()  # whoever ends first ends the others
            again = self.checkpoints.same_command if kept else None
            raise self.interruption.stop(self.step, self.total, again)
        if self.step < self.total and self.checkpoints.due(epoch if ends_epoch else None):
            self.checkpoints.save(self.state())

    def _validate(self) -> None:
        """Let the first process call the validation, which touches no random numbers."""
        if self.validate is None or not self.accelerator.is_main_process:
            return
        model = self.average.module if self.average else self.model
        mode = model.training
        model.eval()
        with torch.no_grad(), torch.random.fork_rng():
            found = self.validate(model)
        model.train(mode)
        if self.best:
            self.best.offer(model, found.metrics, self.step)
        self.recorder.validate(self.step, found.metrics)
        log_metrics(self.step, found.metrics, found.pictures)

    def _end(self) -> None:
        self.recorder.end()
        if self.average:
            self.model.load_state_dict(self.average.module.state_dict())
        if self.best and self.accelerator.is_main_process:  # who alone validates
            self.best.load_into(self.model)
        self.checkpoints.finish(self.state())

    # What is not finite

    def _bad(self, norm: Tensor, metrics: Metrics) -> Tensor:
        """1 where the step was not finite in any process, else 0; nothing waits for it here."""
        finite = torch.isfinite(norm)
        if self.accelerator.scaler is not None:
            # Gradients that overflow fp16 are normal: the scaler skips such steps itself and
            # halves its scale, until they do not.
            self.overflows = torch.where(finite, 0, self.overflows + 1)
            finite = self.overflows <= _MOST_OVERFLOWS
        bad = ~(torch.isfinite(metrics["loss"]) & finite)
        return (self._mean(bad.float()) > 0).float()

    def _any_bad(self, bad: Tensor) -> bool:
        """Read whether the step was bad, the one wait for the device, and agree to stop."""
        stop = torch.full_like(bad, float(self.interruption.signal is not None))
        found, self.stopping = (self._mean(torch.stack([bad, stop])) > 0).tolist()
        return bool(found)

    def _leave_out(self, prefetched: Prefetched, *, lost: bool) -> None:
        """Keep a step that was not finite, and stop unless such steps are to be skipped."""
        step, samples = prefetched.step, self.samples
        indices = prefetched.batch.indices
        there = indices.to(samples.device)
        on_device = prefetched.batch.crops is None
        bad = BadStep(
            model={name: value.cpu().clone() for name, value in self.model.state_dict().items()},
            identity=self.identity,
            step=step.number,
            total=self.total,
            epoch=step.epoch,
            seed=self.config.seed,
            indices=indices.tolist(),
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            crops=samples.crops_of(there if on_device else indices).cpu(),
            labels=None if samples.labels is None else samples.labels[there].cpu(),
            lesion=None if samples.lesion is None else samples.lesion[there].cpu(),
            image_size=self.image_size,
            augmentation=self.config.augmentation.model_dump(),
            micro_batch=self.gradients.micro_batch,
            precision=str(self.accelerator.mixed_precision),
        )
        model = copy.deepcopy(self.model).cpu()
        folder = self.checkpoints.folder.path if self.checkpoints.folder else None
        found = describe_nonfinite(bad, model, folder, lost=lost, gather=gather_object)
        skipped = self.recorder.skipped + 1
        too_many = skipped > self.config.max_skips or skipped == self.total
        if self.config.on_nan == "stop" or too_many:
            raise MiramError(found)
        log.warning("%s. Step left out (%d so far)", found, skipped)

    # Keeping and restoring

    def state(self) -> State:
        """All that changes from step to step; random numbers follow from the step."""
        scaler = self.accelerator.scaler
        return {
            "step": self.step,
            "skipped": self.recorder.skipped,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "scaler": scaler.state_dict() if scaler else None,
            "recorder": self.recorder.state(),
            "best": self.best.state() if self.best else None,
        }

    def _restore(self) -> bool:
        """Take up what an earlier run left; whether that was a finished training."""
        state = self.checkpoints.find()
        if state is None:
            return False
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.recorder.load_state(state["recorder"], self.step)
        if "optimizer" not in state:
            self.recorder.repeat()
            self.facts = state["facts"]
            return True
        self.recorder.skipped = state["skipped"]
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])
        if self.best:
            self.best.load_state(state["best"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        log.info("resuming after step %d of %d", self.step, self.total)
        return False


def _check(
    crops: NDArray[np.uint16], rows: NDArray[np.int64], image_size: int, config: TrainingConfig
) -> None:
    """Refuse samples that do not serve a training, and warn of a budget that hardly does."""
    if len(rows) < config.samples_per_step:
        raise MiramError(
            f"{len(rows)} crops are fewer than one batch: lower training.batch_size and "
            f"effective_batch ({config.samples_per_step}) or give more data"
        )
    if crops.shape[-1] % image_size:
        raise MiramError(
            f"crops of {crops.shape[-1]} pixels do not serve a method that takes {image_size}: "
            f"set rois.image_size to a multiple of {image_size} and run "
            "`kedro run --pipeline rois`"
        )
    warmup = config.optimizer.warmup_epochs
    if warmup >= config.epochs:
        log.warning(
            "the warm-up of %g epochs takes the whole training of %d: lower "
            "training.optimizer.warmup_epochs or raise training.epochs",
            warmup,
            config.epochs,
        )


def _with_micro_batches(
    model: nn.Module,
    crops: NDArray[np.uint16],
    rows: NDArray[np.int64],
    image_size: int,
    config: TrainingConfig,
) -> TrainingConfig:
    """The budget with the micro-batches that memory holds, where `batch_size` is `auto`."""
    if config.batch_size != AUTO:
        return config
    accelerator = make_accelerator(config)
    processes, device = accelerator.num_processes, accelerator.device
    shared = {"processes": processes, "neighbors": processes_here(accelerator)}
    resident = resident_bytes(crops, rows, device, config.crop_cache)
    size = plan_budget(model, image_size, config, device, resident=resident, **shared).batch_size
    if processes > 1:  # the same in all workers, which wait for each other within a micro-batch
        size = int(accelerator.gather(torch.tensor([size], device=device)).min())
    return config.model_copy(
        update={"batch_size": size, "effective_batch": config.samples_per_step}
    )
