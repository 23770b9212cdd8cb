"""From stored values to grey levels: modality and VOI transformations as one lookup table.

A stored word has at most 16 bits, so the whole chain of DICOM PS3.3 C.11.1, C.11.2 and
C.7.6.3.1.2 is evaluated once per possible word, in float64 where the standard asks for it,
and applied to the image as one integer lookup: exact, and the same on every machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from miram.errors import MiramError

Voi = Literal["auto", "none", "lut", "window"]

_WINDOW_MAX = 2**16 - 1
_LOOKUP_ROWS = 256
_GREY_KEYWORDS = (
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
)
_FRAME_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")


class BadLookupTableError(MiramError):
    """A lookup table, rescale or window that contradicts itself."""


class NoSuchVoiError(MiramError):
    """The VOI transformation asked for is not in the file."""


@dataclass(frozen=True)
class WordFormat:
    """How a stored value sits in its word of 8 or 16 bits.

    `shift` bits lie below the value: High Bit + 1 - Bits Stored, 0 but in old files.
    """

    bits_allocated: int
    bits_stored: int
    signed: bool
    shift: int = 0

    @property
    def lowest(self) -> int:
        """The least stored value possible."""
        return -(2 ** (self.bits_stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The greatest stored value possible."""
        return self.lowest + 2**self.bits_stored - 1

    def stored_values(self) -> np.ndarray:
        """Give the stored value of every word, (2^bits_allocated,) int64."""
        words = np.arange(2**self.bits_allocated, dtype=np.int64)
        values = (words >> self.shift) & (2**self.bits_stored - 1)
        if self.signed:
            values[values > self.highest] -= 2**self.bits_stored
        return values


@dataclass(frozen=True)
class GreyTable:
    """The grey level of every word, (2^bits_allocated,) uint8 or uint16 in [0, max_value].

    `transforms` lists what was applied, in order; empty means that a level is the stored value.
    """

    levels: np.ndarray
    max_value: int
    transforms: tuple[str, ...]

    def apply(self, words: np.ndarray) -> np.ndarray:
        """Map (H, W) words to levels; `words` itself where nothing would change."""
        if not self.transforms and words.dtype == self.levels.dtype:
            full = self.max_value == np.iinfo(words.dtype).max
            if full or int(words.max(initial=0)) <= self.max_value:
                return words
        levels = np.empty(words.shape, self.levels.dtype)
        # By strips, since numpy makes an eight-byte index of every two-byte word.
        for top in range(0, len(words), _LOOKUP_ROWS):
            rows = slice(top, top + _LOOKUP_ROWS)
            np.take(self.levels, words[rows], out=levels[rows], mode="clip")
        return levels


def grey_table(
    attributes: Dataset,
    words: WordFormat,
    *,
    inverted: bool,
    voi: Voi = "auto",
    voi_index: int = 0,
    little_endian: bool = True,
) -> GreyTable:
    """Work out the grey level of every word of an image.

    The order is that of the standard: modality LUT or rescale, VOI LUT or window, inversion.
    The scale of the result depends on what was applied last:

    * nothing, or a rescale alone: stored value minus the least possible one, max_value
      2^BitsStored - 1. A rescale is linear, so scaling its range back to whole numbers gives
      the stored values again (reversed where the slope is negative);
    * a lookup table: its entries, max_value 2^n - 1 with n the bits it declares;
    * a window: [0, 65535], rounded to the nearest level.

    MONOCHROME1 is `inverted` with max_value - x. PresentationLUTShape is not read: in mammography
    INVERSE repeats MONOCHROME1 and must not undo it (PS3.3 C.8.11.1.1.2).

    Args:
        attributes: Data set with the attributes of the Modality and VOI LUT modules.
        words: How the stored values sit in their words.
        inverted: Whether low values are bright (MONOCHROME1).
        voi: `auto` takes the LUT where there is one, else the window, else nothing; `lut` and
            `window` insist on theirs; `none` applies neither.
        voi_index: Which of several alternative LUTs or windows, from 0.
        little_endian: Byte order of a LUT kept as bytes.

    Raises:
        BadLookupTableError: If a table, rescale or window contradicts itself.
        NoSuchVoiError: If the VOI transformation asked for is not there.
    """
    values, max_value, transforms = _modality(attributes, words, little_endian)
    kind = _voi_kind(attributes, voi, voi_index)
    if kind == "lut":
        levels, max_value = _lookup(
            attributes["VOILUTSequence"].value[voi_index], values, little_endian
        )
        transforms += ("voi_lut",)
    elif kind == "window":
        levels, function = _window(attributes, values, voi_index)
        max_value = _WINDOW_MAX
        transforms += (f"window:{function}",)
    else:
        levels, transforms = _whole_levels(values, words, transforms)
    if inverted:
        levels = max_value - levels
        transforms += ("invert",)
    if words.shift:
        transforms = ("shift_bits", *transforms)
    dtype = np.uint8 if max_value <= np.iinfo(np.uint8).max else np.uint16
    return GreyTable(levels.astype(dtype), max_value, transforms)


def frame_attributes(dataset: Dataset, frame: int) -> Dataset:
    """Collect the Modality and VOI LUT attributes that hold for one frame.

    Enhanced multi-frame objects such as breast tomosynthesis keep them in functional groups:
    those of the frame win over the shared ones, which win over the top level (C.7.6.16).
    """
    attributes = Dataset()
    for source in (dataset, *_functional_groups(dataset, frame)):
        for keyword in _GREY_KEYWORDS:
            if keyword in source and not source[keyword].is_empty:
                attributes[keyword] = source[keyword]
    return attributes


def _functional_groups(dataset: Dataset, frame: int) -> Iterator[Dataset]:
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for group in (*shared[:1], *per_frame[frame : frame + 1]):
        for keyword in _FRAME_GROUPS:
            yield from (group.get(keyword) or [])[:1]


def _modality(
    attributes: Dataset, words: WordFormat, little_endian: bool
) -> tuple[np.ndarray, int, tuple[str, ...]]:
    values = words.stored_values()
    if attributes.get("ModalityLUTSequence"):
        item = attributes["ModalityLUTSequence"].value[0]
        values, max_value = _lookup(item, values, little_endian)
        return values, max_value, ("modality_lut",)
    max_value = 2**words.bits_stored - 1
    slope = float(attributes.get("RescaleSlope", 1.0))
    intercept = float(attributes.get("RescaleIntercept", 0.0))
    if (slope, intercept) == (1.0, 0.0):
        return values, max_value, ()
    if slope == 0.0 or not np.isfinite([slope, intercept]).all():
        raise BadLookupTableError(f"rescale slope {slope} and intercept {intercept}")
    return values * slope + intercept, max_value, ("rescale",)


def _voi_kind(attributes: Dataset, voi: Voi, index: int) -> Literal["none", "lut", "window"]:
    luts = len(attributes.get("VOILUTSequence") or ())
    windows = min(len(_numbers(attributes, k)) for k in ("WindowCenter", "WindowWidth"))
    there = {"lut": luts, "window": windows}
    if voi == "none":
        return "none"
    if voi == "auto":
        if not luts and not windows:
            return "none"
        voi = "lut" if luts else "window"
    if index >= there[voi]:
        raise NoSuchVoiError(f"{voi} {index} asked for, but the file has {there[voi]} of them")
    return voi


def _whole_levels(
    values: np.ndarray, words: WordFormat, transforms: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Undo a rescale, whose range would be scaled back anyway; shift signed values up."""
    if "modality_lut" in transforms:
        return values, transforms
    stored = words.stored_values()
    if words.signed:
        transforms += ("signed_to_unsigned",)
    falling = "rescale" in transforms and values[stored.argmax()] < values[stored.argmin()]
    return (words.highest - stored if falling else stored - words.lowest), transforms


def _window(attributes: Dataset, values: np.ndarray, index: int) -> tuple[np.ndarray, str]:
    """Apply a window, with [0, 65535] as the output range y_min to y_max of the standard."""
    function = str(attributes.get("VOILUTFunction") or "LINEAR").strip().upper()
    alone = Dataset()
    # A 16-bit unsigned image without rescale makes pydicom use that output range.
    alone.PhotometricInterpretation = "MONOCHROME2"
    alone.BitsStored = 16
    alone.PixelRepresentation = 0
    alone.VOILUTFunction = function
    alone.WindowCenter = _numbers(attributes, "WindowCenter")[index]
    alone.WindowWidth = _numbers(attributes, "WindowWidth")[index]
    try:
        levels = apply_windowing(values, alone)
    except ValueError as error:
        raise BadLookupTableError(str(error)) from error
    return np.rint(levels).astype(np.int64), function


def _lookup(item: Dataset, values: np.ndarray, little_endian: bool) -> tuple[np.ndarray, int]:
    """Look values up in a LUT item of either module (PS3.3 C.11.1.1, C.11.2.1.1).

    pydicom's own functions overflow where the image has more bits than the table's entries, and
    know no modality table of 9 to 15 bits.
    """
    descriptor = _numbers(item, "LUTDescriptor")
    if len(descriptor) != 3:
        raise BadLookupTableError(f"LUT descriptor {descriptor}: three numbers expected")
    length, first, depth = (int(number) for number in descriptor)
    length = length % 2**16 or 2**16
    if not 1 <= depth <= 16:
        raise BadLookupTableError(f"a LUT of {depth} bits per entry")
    if first > values.max():  # a negative first value that was read as unsigned
        first -= 2**16
    entries = _entries(item, length, little_endian)
    max_value = max(2**depth - 1, 2 ** int(entries.max()).bit_length() - 1)
    positions = np.clip(np.rint(values).astype(np.int64) - first, 0, length - 1)
    return entries[positions], max_value


def _entries(item: Dataset, length: int, little_endian: bool) -> np.ndarray:
    data: Any = item.get("LUTData")
    if isinstance(data, bytes):
        packed = len(data) in (length, length + length % 2)  # 8-bit entries, two in a word
        order = "<" if little_endian else ">"
        entries = np.frombuffer(data, np.uint8 if packed else f"{order}u2").astype(np.int64)
    else:
        # Some files mark entries above 32767 as signed.
        entries = np.asarray(_numbers(item, "LUTData"), dtype=np.int64) % 2**16
    if len(entries) < length:
        raise BadLookupTableError(f"a LUT of {len(entries)} entries that declares {length}")
    return entries[:length]


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    value: Any = dataset.get(keyword)
    if value is None or value == "":
        return []
    if isinstance(value, (int, float)):
        return [value]
    return list(value)
