"""The code of a registered model: MLflow copies this file into each version and runs it there.

It needs torch, numpy, pandas and MLflow, not miram: crops as arrays are answered without it.
DICOM files are cut by the code that cut the training crops, so they need miram installed.
"""

import base64
import binascii
import functools
import json
import math
import reprlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from numpy.typing import NDArray

_WHITE = 65_535  # of a stored crop
_BATCH = 64
_INPUTS = ("image", "mask", "dicom", "box", "bits")
_MOST_BITS = 16
_LONGEST = 200  # characters of another's message
_FLAT = "the image has one grey level"
_UNREAD_MASK = "the mask was not read: the features of this model do not depend on it"

# What it is, images, lesion coverage, squares in the mammogram, what the sender should know.
Cut = tuple[str, NDArray, NDArray, list[list[int]], list[str]]


class ServedModel(PythonModel):
    """Features and probabilities of lesion crops, or of mammograms as DICOM files.

    Each row of the input has either `image`, a crop of H x H grey levels in [0, 1], or with `bits`
    in [0, 2^bits - 1] (and, where features depend on it, `mask` of the same size), or `dicom`, a
    file in base64, with `box`, [x0, y0, x1, y1] in its pixels, for a lesion. A DICOM file without
    a box is represented by the mean over patches of its breast tissue; `kind` tells: `crop`,
    `lesion` or `tissue`. `notes` tell what was not taken as it was sent, and what is odd about it.
    """

    def load_context(self, context: Any) -> None:
        """Read the parts of the model."""
        _refuse_what_cannot_be_read()
        folder = Path(context.artifacts["predictor"])
        self.settings = json.loads((folder / "settings.json").read_text())
        self.image_size, self.cells = self.settings["crops"]["side"], self.settings["mask_cells"]
        self.graph = torch.export.load(folder / "model.pt2").module()
        with np.load(folder / "probe.npz", allow_pickle=False) as file:
            self.probe = {name: file[name] for name in file.files}

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer each row: `image` and `mask`, or `dicom` and `box`.

        Raises:
            MlflowException: A row is no crop and no readable DICOM file; the server answers 400.
        """
        if not len(model_input) or not set(_INPUTS) & set(model_input):
            raise _refusal("no input: give rows with image or dicom")
        cuts = [
            self._cut(number, {name: row.get(name) for name in _INPUTS})
            for number, row in enumerate(model_input.to_dict("records"))
        ]
        _, images, coverage, *_ = zip(*cuts, strict=True)
        features = self._encode(np.concatenate(images), np.concatenate(coverage))
        ends = np.cumsum([len(crops) for crops in images])[:-1]
        means = np.stack([part.mean(axis=0) for part in np.split(features, ends)])
        answers = zip(means, self._probabilities(means), cuts, strict=True)
        return pd.DataFrame(
            [
                {
                    "probabilities": dict(zip(self.settings["classes"], found, strict=True)),
                    "features": [float(value) for value in mean],
                    "kind": kind,
                    "patches": len(crops),
                    "squares": squares,
                    "notes": notes,
                    "notice": self.settings["notice"],
                }
                for mean, found, (kind, crops, _, squares, notes) in answers
            ]
        )

    def _cut(self, number: int, row: dict[str, Any]) -> Cut:
        row = {name: value for name, value in row.items() if not _absent(value)}
        try:
            kinds = [name for name in ("image", "dicom") if name in row]
            if len(kinds) != 1:
                raise ValueError("give image or dicom, one of them")
            for other in ("box",) if kinds == ["image"] else ("mask", "bits"):
                if other in row:
                    raise ValueError(f"{other} does not go with {kinds[0]}")
            if kinds == ["dicom"]:
                return self._cut_dicom(row["dicom"], row.get("box"))
            image = self._square("image", row["image"], _white(row.get("bits")))
            notes = [_FLAT] * bool(image.min() == image.max())
            coverage = self._coverage(row.get("mask"))
            if "mask" in row and not self.settings["reads_masks"]:
                notes.append(_UNREAD_MASK)
            return "crop", image[None], coverage[None], [], notes
        except ValueError as error:
            raise _refusal(f"row {number}: {error}") from error

    def _square(self, name: str, values: Any, white: int = 1) -> NDArray[np.float32]:
        try:
            found = np.array([list(line) for line in values])
            if found.dtype.kind not in "iuf":  # also true and false, which are no grey levels
                raise TypeError(found.dtype)
            square = found.astype(np.float32)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{name} is no array of numbers with lines of equal length") from None
        if square.shape != (self.image_size, self.image_size):
            size = " x ".join(map(str, square.shape))
            raise ValueError(
                f"{name} has {size} values; this model takes crops of {self.image_size} x "
                f"{self.image_size}, or a DICOM file, which it cuts itself"
            )
        if not (np.isfinite(square).all() and square.min() >= 0 and square.max() <= white):
            remedy = "divide grey levels by their white, or give image with bits, such as 8 or 16"
            raise ValueError(f"{name} has values outside [0, {white}]: {remedy}")
        return square / np.float32(white)

    def _coverage(self, mask: Any) -> NDArray[np.uint8]:
        if mask is None:
            return np.zeros((self.cells, self.cells), np.uint8)
        step = self.image_size // self.cells
        shares = self._square("mask", mask).reshape(self.cells, step, self.cells, step)
        return np.rint(255 * shares.mean(axis=(1, 3))).astype(np.uint8)

    def _cut_dicom(self, text: Any, box: Any) -> Cut:
        try:
            # Most programs break the lines of what they encode.
            content = base64.b64decode("".join(text.split()), validate=True)
        except (AttributeError, TypeError, ValueError, binascii.Error):
            raise ValueError("dicom is no base64 text") from None
        try:
            from miram.errors import MiramError
            from miram.serving.requests import cut_posted
        except ImportError:
            raise ValueError(
                "DICOM files are cut by the package miram, which is not installed beside this "
                "server, or is older than this model: install it, or send crops as image"
            ) from None
        try:
            cut = cut_posted(content, box, self.settings)
        except MiramError as error:
            raise ValueError(str(error)) from error
        kind = "tissue" if box is None else "lesion"
        return kind, cut.crops / np.float32(_WHITE), cut.masks, cut.squares, cut.notes

    @torch.inference_mode()
    def _encode(self, images: NDArray, coverage: NDArray) -> NDArray[np.float32]:
        found = []
        for start in range(0, len(images), _BATCH):
            rows = slice(start, start + _BATCH)
            inputs = [torch.from_numpy(images[rows])]
            if self.settings["reads_masks"]:
                inputs.append(torch.from_numpy(coverage[rows]))
            found.append(self.graph(*inputs).numpy())
        return np.concatenate(found)

    def _probabilities(self, features: NDArray) -> list[list[float]]:
        probe = self.probe
        standardized = (features.astype(np.float64) - probe["mean"]) / probe["std"]
        logits = standardized @ probe["coef"].T + probe["intercept"]  # (n, d) @ (d, K) -> (n, K)
        if probe["kind"].item() == "single":
            chances = np.exp(logits - logits.max(axis=1, keepdims=True))
            chances /= chances.sum(axis=1, keepdims=True)
        else:
            chances = 1 / (1 + np.exp(-logits))
        if probe["kind"].item() == "binary":
            chances = np.column_stack([1 - chances, chances])
        return [[float(chance) for chance in row] for row in chances]


def _white(bits: Any) -> int:
    """The greatest grey level of so many bits; 1 where none are given."""
    if bits is None:
        return 1
    if isinstance(bits, bool) or bits not in range(1, _MOST_BITS + 1):
        raise ValueError(f"bits is a whole number from 1 to {_MOST_BITS}, got {reprlib.repr(bits)}")
    return int(2 ** int(bits) - 1)


def _refuse_what_cannot_be_read() -> None:
    """Let MLflow's server refuse bodies that its parser fails at, as every other bad input.

    It parses a body before a model is asked, and answers 500 to lists nested without end, to lists
    in place of names, and the like.
    """
    server: Any = sys.modules.get("mlflow.pyfunc.scoring_server")  # absent where none runs
    faults = {
        "invocations": RecursionError,  # of the JSON itself; all else may be of the model
        "infer_and_parse_data": Exception,
        "parse_csv_input": Exception,
    }
    for name, fault in faults.items():
        function = getattr(server, name, None)
        if function is not None and not hasattr(function, "__wrapped__"):
            setattr(server, name, _refusing(function, fault))


def _refusing(function: Callable[..., Any], fault: type[Exception]) -> Callable[..., Any]:
    @functools.wraps(function)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except MlflowException:
            raise
        except fault as error:
            deep = isinstance(error, RecursionError)
            found = "the lists are nested too deep" if deep else str(error)[:_LONGEST]
            raise _refusal(
                f"this request cannot be read ({found}): give rows as "
                '{"dataframe_records": [{"image": [[...]]}]}'
            ) from None

    return refusing


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _refusal(message: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(message)


set_model(ServedModel())
