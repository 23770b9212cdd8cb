"""From stored values to grey levels: modality and VOI transformations as one lookup table.

A stored word has at most 16 bits, so the whole chain of DICOM PS3.3 C.11.1, C.11.2 and
C.7.6.3.1.2 is evaluated once per possible word, in float64 where the standard asks for it,
and applied to the image as one integer lookup: exact, and the same on every machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from miram.errors import MiramError
from miram.mammography.decoding.views import text_of

Voi = Literal["auto", "none", "lut", "window"]

# A code of the audit, and the detail.
Remark = tuple[str, str]
ODD_WINDOW, PADDING = "odd_window", "padding"

_WINDOW_MAX = 2**16 - 1
_WINDOW = ("WindowCenter", "WindowWidth")
_PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")  # PS3.3 C.11.2.1.2 and C.11.2.1.3
_LOOKUP_ROWS = 256
_GREY_KEYWORDS = (
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    *_WINDOW,
    "VOILUTFunction",
    *_PADDING,
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

    Attributes:
        transforms: What was applied, in order; empty means that a level is the stored value.
        remarks: What is odd about the window.
        padding: Which words are padding, (2^bits_allocated,); they are black.
    """

    levels: np.ndarray
    max_value: int
    transforms: tuple[str, ...]
    remarks: tuple[Remark, ...]
    padding: np.ndarray

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

    Padding becomes black. PresentationLUTShape is not read: in mammography INVERSE repeats
    MONOCHROME1 and must not undo it (PS3.3 C.8.11.1.1.2).

    Args:
        attributes: Data set with the attributes of the Modality and VOI LUT modules.
        words: How the stored values sit in their words.
        inverted: Whether low values are bright (MONOCHROME1).
        voi: `auto` takes the LUT if it is whole, else the first usable window, else nothing; `lut`
            and `window` insist on theirs; `none` applies neither.
        voi_index: Which of several alternative LUTs or windows, from 0.
        little_endian: Byte order of a LUT kept as bytes.

    Raises:
        BadLookupTableError: A table, rescale or window contradicts itself.
        NoSuchVoiError: The VOI transformation asked for is not there.
    """
    values, max_value, transforms = _modality(attributes, words, little_endian)
    kind, index, remarks = _choose_voi(attributes, voi, voi_index)
    if kind == "lut":
        item = attributes["VOILUTSequence"].value[index]
        try:
            levels, max_value = _lookup(item, values, little_endian)
        except BadLookupTableError as error:
            if voi != "auto":
                raise
            kind, index, remarks = _choose_voi(_without_lut(attributes), voi, 0)
            remarks = ((ODD_WINDOW, f"VOI LUT: {error}; it is not used"), *remarks)
    if kind == "lut":
        transforms += ("voi_lut",)
    elif kind == "window":
        levels, function = _window(attributes, values, index)
        max_value = _WINDOW_MAX
        transforms += (f"window:{function}",)
    else:
        levels, transforms = _whole_levels(values, words, transforms)
    if inverted:
        levels = max_value - levels
        transforms += ("invert",)
    if words.shift:
        transforms = ("shift_bits", *transforms)
    padding = _padding(attributes, words)
    if levels[padding].any():
        levels[padding] = 0
        transforms += (PADDING,)
    dtype = np.uint8 if max_value <= np.iinfo(np.uint8).max else np.uint16
    return GreyTable(levels.astype(dtype), max_value, transforms, remarks, padding)


def _without_lut(attributes: Dataset) -> Dataset:
    others = frame_attributes(attributes, 0)  # one of its own
    del others.VOILUTSequence
    return others


def _padding(attributes: Dataset, words: WordFormat) -> np.ndarray:
    """Which words stand for no pixel of the detector (PS3.3 C.7.5.1.1.2), (2^bits_allocated,)."""
    values = words.stored_values()
    value, limit = (_numbers(attributes, keyword)[:1] for keyword in _PADDING)
    # The number of a word, taken as signed or not.
    if not value or not -len(values) // 2 <= value[0] < len(values):
        return np.zeros(len(values), bool)
    first, last = sorted((value[0], (limit or value)[0]))
    found: np.ndarray = (values >= first) & (values <= last)
    if not words.shift:  # some files pad with a word that has more bits than a value
        found[int(value[0]) % len(found)] = True
    return found


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
    slope = next(iter(_numbers(attributes, "RescaleSlope")), 1.0)
    intercept = next(iter(_numbers(attributes, "RescaleIntercept")), 0.0)
    if (slope, intercept) == (1.0, 0.0):
        return values, max_value, ()
    if slope == 0.0 or not np.isfinite([slope, intercept]).all():
        raise BadLookupTableError(f"rescale slope {slope} and intercept {intercept}")
    return values * slope + intercept, max_value, ("rescale",)


def _choose_voi(
    attributes: Dataset, voi: Voi, index: int
) -> tuple[Literal["none", "lut", "window"], int, tuple[Remark, ...]]:
    """Choose among LUTs and windows: which kind, which of them, and what is odd about it."""
    luts = len(attributes.get("VOILUTSequence") or ())
    pairs = _windows(attributes)
    there = {"lut": luts, "window": len(pairs)}
    if voi == "none":
        return "none", 0, ()
    if voi == "auto" and not luts and not pairs:
        lone = [keyword for keyword in _WINDOW if text_of(attributes, keyword)]
        detail = f"{lone[0]} without the other; the full range is taken" if lone else ""
        return "none", 0, ((ODD_WINDOW, detail),) if lone else ()
    kind = ("lut" if luts else "window") if voi == "auto" else voi
    if index >= there[kind]:
        raise NoSuchVoiError(f"{kind} {index} asked for, but the file has {there[kind]} of them")
    if kind == "lut":
        return kind, index, ()
    function = _function(attributes)
    order = [index] if voi == "window" else [index, *(i for i in range(len(pairs)) if i != index)]
    usable = next((i for i in order if not _fault(*pairs[i], function)), None)
    written = " / ".join(text_of(attributes, keyword) for keyword in _WINDOW)
    oddity = _fault(*pairs[index], function) or ("decimal comma" if "," in written else "")
    if usable is None and voi == "window":
        raise BadLookupTableError(f"window {written}: {oddity}")
    if usable is None:
        return "none", 0, ((ODD_WINDOW, f"window {written}: {oddity}; the full range is taken"),)
    if not oddity:
        return kind, usable, ()
    taken = "center {:g} and width {:g} are taken".format(*pairs[usable])
    return kind, usable, ((ODD_WINDOW, f"window {written}: {oddity}; {taken}"),)


def _windows(attributes: Dataset) -> list[tuple[float, float]]:
    """Center and width of every window; NaN for what is no number."""
    return list(zip(*(_numbers(attributes, keyword) for keyword in _WINDOW), strict=False))


def _fault(center: float, width: float, function: str) -> str:
    if function not in _FUNCTIONS:
        return f"there is no VOI LUT function {function}"
    if not np.isfinite([center, width]).all():
        return "it is no number"
    if width <= 0 or (function == "LINEAR" and width < 1):
        return f"its width is {width:g}"
    return ""


def _function(attributes: Dataset) -> str:
    return text_of(attributes, "VOILUTFunction").upper() or "LINEAR"


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
    function = _function(attributes)
    alone = Dataset()
    # A 16-bit unsigned image without rescale makes pydicom use that output range.
    alone.PhotometricInterpretation = "MONOCHROME2"
    alone.BitsStored = 16
    alone.PixelRepresentation = 0
    alone.VOILUTFunction = function
    alone.WindowCenter, alone.WindowWidth = _windows(attributes)[index]
    levels = apply_windowing(values, alone)
    return np.rint(levels).astype(np.int64), function


def _lookup(item: Dataset, values: np.ndarray, little_endian: bool) -> tuple[np.ndarray, int]:
    """Look values up in a LUT item of either module (PS3.3 C.11.1.1, C.11.2.1.1).

    pydicom's own functions overflow where the image has more bits than the table's entries, and
    know no modality table of 9 to 15 bits.
    """
    descriptor = _numbers(item, "LUTDescriptor")
    if len(descriptor) != 3 or not np.isfinite(descriptor).all():
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
        if not packed and len(data) % 2:
            raise BadLookupTableError(f"a LUT of {len(data)} bytes that declares {length} entries")
        order = "<" if little_endian else ">"
        entries = np.frombuffer(data, np.uint8 if packed else f"{order}u2").astype(np.int64)
    else:
        # Some files mark entries above 32767 as signed.
        entries = np.asarray(_numbers(item, "LUTData"), dtype=np.int64) % 2**16
    if len(entries) < length:
        raise BadLookupTableError(f"a LUT of {len(entries)} entries that declares {length}")
    return entries[:length]


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The numbers of an element, NaN for text that is none.

    A decimal comma, which anonymizers and exports write, makes pydicom give the text.
    """
    value: Any = dataset.get(keyword)
    if value is None or value == "":
        return []
    if isinstance(value, (int, float, str)):
        value = [value]
    return [_number(part) for part in value]


def _number(part: float | str) -> float:
    if isinstance(part, (int, float)):
        return part
    try:
        return float(part.replace(",", "."))
    except ValueError:
        return math.nan
