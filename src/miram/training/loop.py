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
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from miram.errors import MiramError
from miram.memory import forget_peak
from miram.training.activation_checkpointing import recompute_activations
from miram.training.checkpointing.interruption import Interruption
from miram.training.checkpointing.manager import Keep, Keeper
from miram.training.checkpointing.selection import Selection
from miram.training.checkpointing.state_files import State
from miram.training.config import LAST, TrainingConfig
from miram.training.data.batches import Needs, Portion, Samples, make_batch
from miram.training.data.prefetch import Served, place_samples, serve
from miram.training.data.sampling import steps_from
from miram.training.device import determinism, make_accelerator, precision_of
from miram.training.distributed.global_normalization import normalized_together
from miram.training.gradients import Gradients, room_for_moments
from miram.training.logging.facts import Facts, facts_of
from miram.training.logging.recorder import Recorder, StepMetrics
from miram.training.logging.telemetry import Watch, tell
from miram.training.nonfinite import Replay, tell_nonfinite
from miram.training.optimizer import learning_rate_factor, make_optimizer
from miram.training.preparation import check, refuse_different_starts, settled

log = logging.getLogger(__name__)

# A scale of fp16 that was halved so often is far below 1: the gradient itself is not finite.
_MOST_OVERFLOWS = 20

# Threads of one process share the device and accelerate's state: they train one after another.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Trained:
    """What a training leaves beside the weights.

    Attributes:
        history: One row per logged step with `step`, `epoch`, `loss`, the single losses, `lr`,
            `gradient_norm`, `images_per_second`, `data_wait` (share of the time),
            `peak_memory_gb`, under fp16 `overflow` (share of steps), under `on_nan: skip`
            `skipped` (steps left out so far), and what `watch` found.
        facts: Of the run that trained, perhaps an earlier one; see `miram.training.logging.facts`.
    """

    history: pd.DataFrame
    facts: Facts


def train(
    model: nn.Module,
    crops: NDArray[np.uint16],
    side: int,
    config: TrainingConfig,
    *,
    rows: NDArray[np.int64] | None = None,
    labels: NDArray[np.int64] | None = None,
    lesion: NDArray[np.uint8] | None = None,
    keep: Keep | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train a model, from the beginning or from where an interrupted training stopped.

    It ends with its last weights, or with those that had the highest `config.select`.

    Args:
        model: What it is called with, and what it gives, is told in `miram.training.data.batches`.
        crops: (N, H, H) uint16, perhaps an array in a file.
        side: Side of the images the model takes, in pixels; it divides H.
        config: The budget.
        rows: (n,) positions of the crops to train on; all by default.
        labels: (n,) classes or (n, K) of 0 and 1, for a model that needs them.
        lesion: (n, h, h) uint8 coverage by the lesion, for a model that needs it.
        keep: Where the state is kept to go on from; None keeps nothing.
        watch: Looks at the model every `config.validate_every` epochs.

    Raises:
        MiramError: There are fewer crops than a batch, memory does not hold one sample, the
            loss is not finite, an interrupted training had other settings, or no look gave the
            metric to select by.
        TrainingInterrupted: SIGTERM or Ctrl-C; the state is kept.
    """
    rows = np.arange(len(crops)) if rows is None else np.asarray(rows)
    check(crops, rows, side, config)
    config = settled(model, crops, rows, side, config)
    with ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(determinism(config.deterministic))
        stack.enter_context(recompute_activations(model, config.activation_checkpointing))
        interruption = stack.enter_context(Interruption())
        facts = facts_of(config)
        training = Training(model, crops, rows, side, config, labels, lesion, keep, facts)
        several = training.accelerator.num_processes > 1
        stack.enter_context(normalized_together(model, several))
        training.interruption = interruption
        training.run(watch)
        return Trained(training.recorder.history(), training.facts)


class Training:
    """A training under way: what changes from step to step, and how to keep and restore it.

    Args: As `train`, and what is told of this run.
    """

    def __init__(
        self,
        model: nn.Module,
        crops: NDArray[np.uint16],
        rows: NDArray[np.int64],
        side: int,
        config: TrainingConfig,
        labels: NDArray[np.int64] | None,
        lesion: NDArray[np.uint8] | None,
        keep: Keep | None,
        facts: Facts,
    ) -> None:
        self.config, self.side, self.facts = config, side, facts
        self.needs = Needs.of(model)
        self.on_step: list[Any] = [m.on_step for m in model.modules() if hasattr(m, "on_step")]
        self.accelerator = make_accelerator(config)
        self.model = model.to(self.accelerator.device)
        forget_peak(self.accelerator.device)  # that of earlier trainings and of sizes tried
        if config.compile:
            self.model.compile()
        self.optimizer = make_optimizer(model, config.optimizer, config.samples_per_step)
        self.peak = [group["lr"] for group in self.optimizer.param_groups]
        decay = config.ema_decay
        self.average = (
            AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
        )
        self.selection = Selection(config.select) if config.select != LAST else None
        self.stepper = self.accelerator.prepare(self.optimizer)
        several = self.accelerator.num_processes > 1
        caller = DistributedDataParallel(model) if several else model
        self.gradients = Gradients(caller, self.accelerator, config, self.needs, self._batch)
        self.samples: Samples = place_samples(
            crops,
            rows,
            labels if self.needs.needs_labels else None,
            lesion if self.needs.needs_lesion else None,
            self.accelerator.device,
            config.crop_cache,
        )
        self.steps_per_epoch = len(rows) // config.samples_per_step
        self.total = self.steps_per_epoch * config.epochs
        self.step = 0
        self.overflows = torch.zeros((), device=self.accelerator.device)  # in a row, under fp16
        self.interruption, self.stopping = Interruption(), False
        first = self.accelerator.is_main_process
        self.recorder = Recorder(
            config, self.total, self._mean, device=self.accelerator.device, speaks=first
        )
        precision = precision_of(self.accelerator)
        self.keeper = Keeper(keep, config, len(rows), precision, facts, writes=first)

    def run(self, watch: Watch | None) -> None:
        """Take all steps that are left, and settle what the result is."""
        finished = self._restore()
        keep = self.keeper.keep
        refuse_different_starts(self.accelerator, self.step, keep.folder.path if keep else None)
        self.model.train()
        if not finished:  # an interrupted one may have all its steps behind it
            with self.recorder.display:
                for served in self._serve():
                    self._take(served)
                    self._between_steps(watch)
            self._end()
        self.accelerator.free_memory()

    def _end(self) -> None:
        self.recorder.end()
        if self.average:
            self.model.load_state_dict(self.average.module.state_dict())
        if self.selection and self.accelerator.is_main_process:  # who alone looks
            self.selection.put_into(self.model)
        self.keeper.finish(self.state())

    def _take(self, served: Served) -> None:
        """Take one step: all portions forward and backward, then the optimizer."""
        step, config = served.step, self.config
        factor = learning_rate_factor(
            step.number, config.optimizer.warmup_epochs * self.steps_per_epoch, self.total
        )
        for group, lr in zip(self.optimizer.param_groups, self.peak, strict=True):
            group["lr"] = lr * factor
        for on_step in self.on_step:
            on_step(step.number, self.total)
        before = [b.clone() for b in self.model.buffers()] if config.on_nan == "skip" else []
        metrics = self.gradients.add(served)
        norm = self._clip()
        bad = self._bad(norm, metrics)
        if self.accelerator.scaler is None:
            # The fused optimizer leaves weights alone where this is 1, without a wait for it.
            self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        with room_for_moments(self.accelerator.device):
            self.stepper.step()
        self.optimizer.zero_grad()
        lr = max(self.peak) * factor
        if self._agreed(bad):
            for buffer, value in zip(self.model.buffers(), before, strict=False):
                buffer.copy_(value)  # such as the running means of a norm
            self._leave_out(served, lost=not torch.isfinite(metrics.sums["loss"]))
            self.recorder.leave_out(step.number + 1, step.epoch, lr, served.waited)
        else:
            metrics.sums["gradient_norm"] = norm
            if self.accelerator.scaler is not None:
                metrics.sums["overflow"] = (self.overflows > 0).float()
            if self.average:
                self.average.update_parameters(self.model)
            self.recorder.add(step.number + 1, step.epoch, metrics, lr, served.waited)
        self.step = step.number + 1

    def _batch(self, portion: Portion) -> dict[str, Any]:
        return make_batch(self.samples, portion, self.side, self.needs, self.config.augmentation)

    def _clip(self) -> Tensor:
        """Norm of the gradient, which is cut down to the greatest allowed."""
        self.accelerator.unscale_gradients()
        trained = list(self.model.parameters())
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.config.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(trained, self.config.optimizer.clip_norm, norm)
        return norm

    def _serve(self) -> Iterator[Served]:
        config, processes = self.config, self.accelerator.num_processes
        steps = steps_from(
            self.step, config.seed, len(self.samples.rows), config.samples_per_step, config.epochs
        )
        rank = self.accelerator.process_index
        return serve(steps, self.samples, self.needs, config.seed, rank, processes)

    def _between_steps(self, watch: Watch | None) -> None:
        ends_epoch = self.step % self.steps_per_epoch == 0
        epoch = self.step // self.steps_per_epoch
        every = self.config.validate_every
        if watch and every and ends_epoch and epoch % every == 0:
            self._watch(watch)
        alone = self.accelerator.num_processes == 1
        if self.stopping or (alone and self.interruption.signal):
            kept = self.keeper.save(self.state())
            again = self.keeper.same_command
            raise self.interruption.stop(self.step, self.total, again if kept else None)
        if self.step < self.total and self.keeper.due(epoch if ends_epoch else None):
            self.keeper.save(self.state())

    def _watch(self, watch: Watch) -> None:
        if not self.accelerator.is_main_process:
            return
        watched = self.average.module if self.average else self.model
        mode = watched.training
        watched.eval()
        with torch.no_grad(), torch.random.fork_rng():
            found = watch(watched)
        watched.train(mode)
        if self.selection:
            self.selection.offer(watched, found.metrics, self.step)
        self.recorder.watch(self.step, found.metrics)
        tell(self.step, found.metrics, found.pictures)

    # What is not finite

    def _bad(self, norm: Tensor, metrics: StepMetrics) -> Tensor:
        """1 where the step was not finite in any process, else 0; nothing waits for it here."""
        finite = torch.isfinite(norm)
        if self.accelerator.scaler is not None:
            # Gradients that overflow fp16 are normal: the scaler skips such steps itself and
            # halves its scale, until they do not.
            self.overflows = torch.where(finite, 0, self.overflows + 1)
            finite = self.overflows <= _MOST_OVERFLOWS
        bad = ~(torch.isfinite(metrics.sums["loss"]) & finite)
        return (self._mean(bad.float()) > 0).float()

    def _agreed(self, bad: Tensor) -> bool:
        """Read whether the step was bad, the one wait for the device, and agree to stop."""
        stop = torch.full_like(bad, float(self.interruption.signal is not None))
        found, self.stopping = (self._mean(torch.stack([bad, stop])) > 0).tolist()
        return bool(found)

    def _leave_out(self, served: Served, *, lost: bool) -> None:
        """Keep a step that was not finite, and stop unless such steps are to be skipped."""
        number = served.step.number
        replay = Replay(
            model=copy.deepcopy(self.model).cpu(),
            batches=[
                {name: value.cpu() for name, value in self._batch(portion).items()}
                for portion in served.portion.split(self.gradients.portion)
            ],
            precision=str(self.accelerator.mixed_precision),
            seed=self.gradients.seed(served),
            step=number,
            epoch=served.step.epoch,
            indices=served.portion.indices.tolist(),
            worker=self.accelerator.process_index if self.accelerator.num_processes > 1 else None,
        )
        skipped = self.recorder.skipped + 1
        keep = self.keeper.keep
        folder = keep.folder.path if keep else None
        told = tell_nonfinite(replay, folder, lost=lost, gather=gather_object)
        too_many = skipped > self.config.max_skips or skipped == self.total
        if self.config.on_nan == "stop" or too_many:
            raise MiramError(told)
        log.warning("%s. Step left out (%d so far)", told, skipped)

    def _mean(self, value: Tensor) -> Tensor:
        if self.accelerator.num_processes == 1:
            return value
        mean: Tensor = self.accelerator.reduce(value, "mean")
        return mean

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
            "selection": self.selection.state() if self.selection else None,
        }

    def _restore(self) -> bool:
        """Take up what an earlier run left; whether that was a finished training."""
        state = self.keeper.find()
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
        if self.selection:
            self.selection.load_state(state["selection"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        log.info("going on after step %d of %d", self.step, self.total)
        return False
