"""The methods that a study compares, by name: what they are called, drawn like and cited as.

Each name is a namespace of the pipelines and a block of `parameters_pretrain.yml`, which says how
the method is made; an environment has the methods of which it has a block. To add one: a `Method`
below and its block. This module needs no torch.
"""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from miram.errors import MiramError


@dataclass(frozen=True)
class Method:
    """A method as a reader meets it.

    Attributes:
        name: Its namespace.
        label: Its name in the field's words.
        color: Hexadecimal color of its marks, at least 3:1 on white and on near black.
        summary: What it is and learns from, a sentence without its full stop.
        kind: `method.kind` of the block that `summary` speaks of; empty for a baseline.
        papers: What to cite.
        needs_labels: Whether it is trained on the labels of the training patients.
        dash: Plotly line style; a second cue, so that color is never the only one.
        symbol: Plotly marker, a third cue.
    """

    name: str
    label: str
    color: str
    summary: str
    kind: str = ""
    papers: tuple[str, ...] = ()
    needs_labels: bool = False
    dash: str = "solid"
    symbol: str = "circle"


_MIRAM = (
    "Vo HQ et al. (2025). Efficient Multi-scale Masked Autoencoders with Hybrid-Attention "
    "Mechanism for Breast Lesion Classification (MIRAM). arXiv 2503.07157"
)
_MASKED = (
    "The encoder of a masked autoencoder, pretrained without labels: patches of each crop were "
    "masked, and {}, discarded afterwards, reconstructed the crop from the visible patches"
)
_TWO_SCALES = "two decoders (one at twice the resolution, with {})"


def _drawn_apart(dashes: str, symbols: str, *methods: Method) -> dict[str, Method]:
    """The methods by name, each with a dash and a symbol of its own."""
    marks = zip(cycle(dashes.split()), cycle(symbols.split()), strict=False)
    return {
        method.name: replace(method, dash=dash, symbol=symbol)
        for method, (dash, symbol) in zip(methods, marks, strict=False)
    }


def _miram(name: str, label: str, color: str, high: str, *papers: str) -> Method:
    summary = _MASKED.format(_TWO_SCALES.format(high))
    return Method(name, label, color, summary, "masked_autoencoder", (_MIRAM, *papers))


SUPERVISED = "supervised"

# The colors stay apart by 15 and more (CIELAB) for the common color blindnesses; those of the
# baselines are greys, told apart by their marks.
METHODS = _drawn_apart(
    "dot dash solid solid dash dashdot longdash solid dot longdashdot",
    "x cross circle square diamond triangle-up star pentagon hexagon triangle-down",
    Method(
        "random",
        "Random (untrained)",
        "#7d7d7d",
        "An encoder with random weights. Nothing was trained: it is the baseline that every "
        "trained method should exceed",
        "random",
    ),
    Method(
        SUPERVISED,
        "Supervised",
        "#9d5708",
        "An encoder trained from scratch on the labels of the training patients: the reference "
        "that pretraining without labels is measured against",
        "supervised",
        needs_labels=True,
    ),
    Method(
        "mae",
        "MAE",
        "#2c96f4",
        _MASKED.format("a decoder"),
        "masked_autoencoder",
        (
            "He K et al. (2022). Masked Autoencoders Are Scalable Vision Learners. CVPR. "
            "arXiv 2111.06377",
        ),
    ),
    _miram("miram_softmax", "MIRAM, softmax", "#d35846", "softmax attention"),
    _miram("miram_linformer", "MIRAM, Linformer", "#1aa75f", "Linformer attention"),
    _miram("miram_performer", "MIRAM, Performer", "#e343b5", "Performer attention"),
    _miram("miram_nystrom", "MIRAM, Nyström", "#695cf7", "Nyström attention"),
    _miram(
        "miram_cross",
        "MIRAM, cross decoder",
        "#b38a0c",
        "cross-attention to the visible patches only",
        "Fu L et al. (2025). Rethinking Patch Dependence for Masked Autoencoders. TMLR. "
        "arXiv 2401.14391",
    ),
    Method(
        "hiend_mae",
        "Hi-End-MAE",
        "#067a9f",
        _MASKED.format("a decoder that attends to several levels of the encoder"),
        "masked_autoencoder",
        (
            "Tang F et al. (2025). Hi-End-MAE: Hierarchical encoder-driven masked autoencoders "
            "are stronger vision learners for medical image segmentation. arXiv 2502.08347",
        ),
    ),
    Method(
        "moco_v3",
        "MoCo-v3",
        "#a928c2",
        "An encoder pretrained without labels by contrastive learning (MoCo-v3): features of two "
        "views of a crop were drawn together and apart from those of other crops",
        "moco_v3",
        (
            "Chen X, Xie S, He K (2021). An Empirical Study of Training Self-Supervised Vision "
            "Transformers. ICCV. arXiv 2104.02057",
        ),
    ),
)

# MIRAM with each further kind of attention, which conf/attention_sweep alone has. More colors than
# above cannot be told apart: these share one, and differ in their marks.
METHODS |= _drawn_apart(
    "longdashdot dash dot dashdot longdash",
    "octagon hexagram hourglass bowtie diamond-tall diamond-wide star-square star-diamond "
    "triangle-left triangle-right hexagon2",
    *(
        _miram(f"miram_{'_'.join(kind.split())}", f"MIRAM, {kind}", "#66727c", f"{kind} attention")
        for kind in (
            "math",
            "multi axis",
            "focused linear",
            "lookup",
            "halo",
            "neighborhood",
            "long short",
            "varying window",
            "pyramid",
            "gated conv",
            "affine",
        )
    ),
)

# Hand-crafted features with the same probe: an encoder should exceed them to be worth training.
_HOG = "Dalal N, Triggs B (2005). Histograms of Oriented Gradients for Human Detection. CVPR"
_LBP = (
    "Ojala T, Pietikäinen M, Mäenpää T (2002). Multiresolution Gray-Scale and Rotation Invariant "
    "Texture Classification with Local Binary Patterns. IEEE PAMI 24:971"
)
_LOW = ", low resolution"
_SEEN = ", at the resolution that the encoders see"


def _baseline(name: str, label: str, summary: str, *papers: str) -> Method:
    return Method(name, label, "#66727c", summary, papers=papers)


def _twice(name: str, label: str, summary: str, *papers: str) -> tuple[Method, Method]:
    return (
        _baseline(name, label, summary, *papers),
        _baseline(f"{name}_low", label + _LOW, summary + _SEEN, *papers),
    )


BASELINES = _drawn_apart(
    "solid dash dot dashdot longdash",
    "square-open circle-open diamond-open hexagon-open star-open cross-open x-open "
    "triangle-up-open triangle-down-open",
    *_twice("hog", "HOG", "Histograms of oriented gradients of the crop", _HOG),
    *_twice("lbp", "LBP", "Uniform, rotation-invariant local binary patterns of the crop", _LBP),
    *_twice("intensity", "Intensity", "Statistics of the grey levels of the crop and the lesion"),
    _baseline("mean_grey", "Mean grey", "Mean and standard deviation of the crop's grey levels"),
    _baseline("box_size", "Box size", "The area of the lesion's box"),
    _baseline("mask_shape", "Mask shape", "Area, solidity and eccentricity of the drawn outline"),
)


def choose_methods(asked: Any, blocks: Collection[str] = METHODS) -> tuple[str, ...]:
    """The methods of a study, in the order of the tables.

    Args:
        asked: `all`, a list of names, or names joined by + in one text.
        blocks: Names of parameters; a method without a block among them has no settings.

    Raises:
        MiramError: There is no such method, it has no settings, or not a single name is given.
    """
    if asked == "all":
        return tuple(name for name in METHODS if name in blocks)
    names = asked.split("+") if isinstance(asked, str) else list(asked or ())
    check_names(names, METHODS)
    for name in names:
        if name not in blocks:
            raise MiramError(
                f"this environment has no settings of {name}: run it with `--env attention_sweep`, "
                f"or add a block {name} to your parameters_pretrain.yml"
            )
    if not names:
        raise MiramError(f"methods names none: all, or some of {', '.join(METHODS)}")
    return tuple(name for name in METHODS if name in names)


def check_names(names: Iterable[str], known: Collection[str] = ()) -> None:
    """Refuse a name that is not known, by default of no method and no baseline.

    Raises:
        MiramError: With the nearest name.
    """
    known = known or (*METHODS, *BASELINES)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"
            raise MiramError(f"there is no method {name!r}: {hint}")
