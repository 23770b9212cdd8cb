"""What an attention costs on this machine: time, memory, and its distance from softmax.

A row is one layer, projections included, of the size of a decoder's, measured in a process of its
own, so that no row's memory is another's. The exact attention has a row for the way it chooses and
one for each kernel of PyTorch that the device has; the materialized one (`math`) is a kind.
"""

import multiprocessing
import platform
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt, field_validator
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from miram.configuration import Config, Listed
from miram.errors import MiramError
from miram.memory import forget_peak, free_memory, is_out_of_memory, peak_memory, show_size
from miram.models.attention import ATTENTIONS
from miram.models.attention.base import MultiHeadAttention, TokenGrid
from miram.models.attention.softmax import softmax_attention
from miram.models.describe import metered, traced
from miram.models.images import plain_views
from miram.models.methods.masked_autoencoder import MaskedAutoencoder

Precision = Literal["fp32", "bf16"]

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "formula": SDPBackend.MATH,
}
_FEWEST_RUNS = 3
_MOST_OF_FREE = 0.7
_MIB = 2**20


class AttentionBenchmarkConfig(Config):
    """Which attentions are measured, and in which layer; the defaults are the paper's decoder."""

    kinds: Listed[str] = Field(
        ("all",), description="joined by + in one text; or all", validate_default=True
    )
    grids: Listed[PositiveInt] = Field(
        (14, 28, 56), min_length=1, description="patches per side; 112 of them are 12,544 tokens"
    )
    precisions: Listed[Precision] = Field(("fp32", "bf16"), min_length=1)
    dim: PositiveInt = 512
    heads: PositiveInt = 16
    batch: PositiveInt = 1
    device: str = Field("auto", description="auto for a CUDA device if there is one, cpu, cuda:1")
    seconds: PositiveFloat = Field(1.0, description="for each row at least, and three runs")

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if kinds == ("all",):
            return tuple(ATTENTIONS)
        if unknown := set(kinds) - set(ATTENTIONS):
            raise ValueError(f"no {min(unknown)!r}: choose among {', '.join(ATTENTIONS)}")
        return kinds

    @property
    def torch_device(self) -> torch.device:
        """Where to compute."""
        found = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(found if self.device == "auto" else self.device)

    @property
    def machine(self) -> str:
        """Where it is computed, in words."""
        if self.torch_device.type == "cuda":
            return torch.cuda.get_device_name(self.torch_device)
        threads = torch.get_num_threads()
        cpu = f"{platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"
        return f"{cpu}, {threads} thread{'s' * (threads > 1)}"


@dataclass(frozen=True)
class Cost:
    """One row of the benchmark; per image where it says so.

    Attributes:
        kind: The attention, with its default settings.
        kernel: Of PyTorch, for `softmax`; empty for others, and for the way `softmax` chooses.
        tokens: N, CLS included.
        precision: `fp32` or `bf16` (autocast).
        step: `forward`, or `training` for forward and backward.
        ms: Median milliseconds per image.
        ms_low: Their lower quartile.
        ms_high: Their upper quartile.
        runs: Number of runs timed.
        kept_mib: What an image keeps for the backward pass; 0 for `forward`.
        peak_mib: Memory at most, above what was in use before the first run, for the batch.
        gflop: Operations counted per image; Fourier transforms are not among them.
        share: Of the rate at which this device multiplies matrices in that precision.
        note: Why there are no numbers; empty where there are.
    """

    kind: str
    kernel: str
    tokens: int
    precision: str
    step: str
    ms: float = float("nan")
    ms_low: float = float("nan")
    ms_high: float = float("nan")
    runs: int = 0
    kept_mib: float = float("nan")
    peak_mib: float = float("nan")
    gflop: float = float("nan")
    share: float = float("nan")
    note: str = ""


def measure_attention(kind: str, config: AttentionBenchmarkConfig) -> pd.DataFrame:
    """Measure an attention at every size and precision, forward and in training.

    Returns:
        The fields of a `Cost` in one row per size, precision, step and kernel, and the `machine`.
        What does not fit into memory, or a kernel that the device does not have, has a note in
        place of numbers.
    """
    rows = [_in_a_process(row, config) for row in _planned(kind, config)]
    return pd.DataFrame([asdict(row) for row in rows]).assign(machine=config.machine)


def _planned(kind: str, config: AttentionBenchmarkConfig) -> Iterator[Cost]:
    for grid in config.grids:
        for precision in config.precisions:
            for step in ("forward", "training"):
                for kernel in ("", *KERNELS) if kind == "softmax" else ("",):
                    yield Cost(kind, kernel, grid**2 + 1, precision, step)


def _in_a_process(row: Cost, config: AttentionBenchmarkConfig) -> Cost:
    # Forked from a process that has imported torch and computed nothing: at once, and clean.
    ways = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(measure, row, config).result()
        except BrokenProcessPool:
            return replace(row, note="the process was killed: out of memory?")


def measure(row: Cost, config: AttentionBenchmarkConfig) -> Cost:
    """Measure one row in this process."""
    device = config.torch_device
    try:
        kept, flops = counted(row, config)
    except MiramError as error:  # settings that do not fit so small a grid
        return replace(row, note=str(error))
    needed = kept * config.batch
    if needed > _MOST_OF_FREE * free_memory(device):
        return replace(row, kept_mib=kept / _MIB, note=f"needs {show_size(needed)}")
    layer, x = make_layer(row, config, device)
    run = _runner(layer, x, row, device)
    try:
        if device.type == "cuda":  # its libraries take workspaces once
            run()
            torch.cuda.synchronize(device)
        forget_peak(device)
        before = peak_memory(device)
        run()
        peak = peak_memory(device) - before
        times = list(_times(run, config.seconds, device))
    except RuntimeError as error:
        if is_out_of_memory(error):
            return replace(row, note="out of memory")
        if not row.kernel:
            raise
        return replace(row, note="the device has no such kernel")
    each = np.array(times) * 1000 / config.batch
    low, median, high = np.quantile(each, (0.25, 0.5, 0.75)).tolist()
    rate = product_rate(device, row.precision)
    return replace(
        row,
        ms=median,
        ms_low=low,
        ms_high=high,
        runs=len(times),
        kept_mib=kept / _MIB,
        peak_mib=peak / _MIB,
        gflop=flops / 1e9,
        share=flops / (median / 1000) / rate,
    )


def make_layer(
    row: Cost, config: AttentionBenchmarkConfig, device: torch.device
) -> tuple[nn.Module, Tensor]:
    """The layer of a row, and images (B, N, C) for it."""
    side = round((row.tokens - 1) ** 0.5)
    attention = ATTENTIONS.model_validate({"kind": row.kind}).layer(1, (side, side))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer: Any = attention(config.dim, num_heads=config.heads, qkv_bias=True, device=device)
        x = torch.randn(config.batch, row.tokens, config.dim, device=device)
    if row.kernel:
        layer.attend = F.scaled_dot_product_attention
    return layer, x


def counted(row: Cost, config: AttentionBenchmarkConfig) -> tuple[int, int]:
    """Bytes kept for the backward pass and operations of an image; nothing is computed."""
    if row.kernel == "efficient":  # which keeps what flash keeps, and CPUs do not have
        row = replace(row, kernel="flash")
    layer, _ = make_layer(row, config, torch.device("meta"))
    with traced(layer):
        x = torch.empty(1, row.tokens, config.dim)
        with metered(layer.parameters()) as meter:
            _runner(layer, x, row, x.device)()
        return meter.kept(), meter.flops


def _runner(layer: nn.Module, x: Tensor, row: Cost, device: torch.device) -> Any:
    training = row.step == "training"

    def run() -> None:
        with sdpa_kernel(KERNELS[row.kernel]) if row.kernel else nullcontext():
            half = torch.autocast(device.type, torch.bfloat16, enabled=row.precision == "bf16")
            with torch.set_grad_enabled(training), half:
                y = layer(x)
            if training:
                y.float().sum().backward()

    return run


def _times(run: Any, seconds: float, device: torch.device) -> Iterator[float]:
    begun, runs = time.perf_counter(), 0
    while runs < _FEWEST_RUNS or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        yield time.perf_counter() - start
        runs += 1


def product_rate(device: torch.device, precision: str) -> float:
    """Operations per second of the product of two large matrices, the best of three."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side = 8192 if device.type == "cuda" else 2048
    one = torch.randn(side, side, device=device, dtype=dtype)
    best = min(_times(lambda: one @ one, 0, device))
    return 2 * side**3 / best


@dataclass(frozen=True)
class Heads:
    """Queries, keys and values of a decoder's first block, each (B, H, P + h * w, D)."""

    q: Tensor
    k: Tensor
    v: Tensor
    grid: TokenGrid


@torch.no_grad()
def decoder_heads(model: nn.Module, crops: Tensor) -> Heads:
    """What the last decoder's attention sees of some crops, under masks that are always the same.

    Args:
        model: A masked autoencoder whose last decoder has blocks of self-attention.
        crops: (B, H, H) uint16, one per patient.

    Raises:
        MiramError: It is none, or its decoder has none, or heads that share their keys.
    """
    if not isinstance(model, MaskedAutoencoder):
        raise MiramError("distances from softmax need a masked autoencoder")
    block = next(iter(getattr(model.decoders[-1], "blocks", [])), None)
    attention = getattr(block, "attn", None)
    if not isinstance(attention, MultiHeadAttention) or attention.kv_heads != attention.num_heads:
        raise MiramError("distances from softmax need a decoder with self-attention of full heads")
    found: list[tuple[Tensor, Tensor, Tensor]] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(attention.split_heads(attention.qkv(inputs[0])))

    handle = attention.register_forward_pre_hook(keep)
    noise = torch.rand(len(crops), model.noise_width, generator=torch.Generator().manual_seed(0))
    size = model.config.crop_size(model.encoder_config)
    model(plain_views(crops, size, model.pixels), noise)
    handle.remove()
    return Heads(*found[0], attention.grid)


def distance_from_softmax(kind: str, heads: Heads) -> npt.NDArray[np.float64] | None:
    """How far an attention's answer is from the exact one for each image, ‖a - exact‖ / ‖exact‖.

    Returns:
        (B,), with the kind's `untrained` settings; None for an attention with weights of its own,
        which approximates nothing before these are trained, or one that does not fit the grid.
    """
    q, k, v = heads.q, heads.k, heads.v
    config = ATTENTIONS.model_validate({"kind": kind, **ATTENTIONS[kind].untrained})
    attention = config.layer(heads.grid.prefix, heads.grid.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of random features
        try:
            layer: Any = attention(q.shape[1] * q.shape[3], num_heads=q.shape[1]).eval()
        except MiramError:  # settings that do not fit so small a grid
            return None
    if {name.split(".")[0] for name, _ in layer.named_parameters()} - {"qkv", "proj"}:
        return None
    with torch.no_grad():
        exact = softmax_attention(q, k, v)
        away = (layer.attend(q, k, v) - exact).flatten(1).norm(dim=1)
    return (away / exact.flatten(1).norm(dim=1)).double().numpy()


def crossover(
    costs: pd.DataFrame, most: str = "ms_high", least_exact: str = "ms_low"
) -> pd.DataFrame:
    """From how many tokens on each attention is below the best kernel of exact attention.

    Args:
        costs: As `measure_attention`, of several kinds, `softmax` among them.
        most: What has to be below: `ms_high`, `kept_mib` or `peak_mib`.
        least_exact: What of exact attention it has to be below. With the limits of time as they
            are by default, a tie is no crossover.

    Returns:
        `kind`, `precision`, `step`, `from_tokens`: the fewest tokens measured from which on it is
        always below; missing where it is not below at the most tokens.
    """
    keys = ["precision", "step", "tokens"]
    exact = costs[costs["kind"] == "softmax"].groupby(keys)[least_exact].min().rename("exact")
    others = costs[costs["kind"] != "softmax"].join(exact, on=keys)
    found = []
    for (kind, precision, step), rows in others.groupby(["kind", "precision", "step"], sort=False):
        rows = rows.sort_values("tokens", ascending=False)
        below = (rows[most] < rows["exact"]).cumprod().astype(bool)
        from_tokens = rows["tokens"][below].min() if below.any() else None
        found.append((kind, precision, step, from_tokens))
    columns = ["kind", "precision", "step", "from_tokens"]
    return pd.DataFrame(found, columns=columns).astype({"from_tokens": "Int64"})
