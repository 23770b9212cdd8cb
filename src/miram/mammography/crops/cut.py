"""Cutting lesions and background patches out of one mammogram, decoded once."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from miram.configuration import Config
from miram.mammography.audit import AuditLog
from miram.mammography.crops.breast import breast_mask, chest_wall_edge, has_white_air
from miram.mammography.crops.geometry import Box, PaddingMode, cut, shift_inside, square_around
from miram.mammography.crops.masks import LesionMask, mask_from_box, mask_from_image, union
from miram.mammography.crops.pixels import NormalizationConfig, resample, to_full_range
from miram.mammography.crops.store import STORED_NAMES
from miram.mammography.decoding.read import (
    DecodedImage,
    DecodingConfig,
    DecodingError,
    Photometric,
    read_image,
)

CROPPING_VERSION = 4  # raise it when the same input would give other bytes
MASK_STEP = 8  # crop pixels along each axis of one stored mask value
_THUMBNAIL_SIZE = 256  # least length of the shorter edge of the image the breast is found on
_BACKGROUND_TRIES = 50
_UNQUOTED = "the decoder's words are not repeated: they may quote the file"
_LEAST_INSIDE = 0.9  # share of a lesion's box in the breast; 2 of 187 real ones have less
_MOST_MARKED = 0.6  # share of a whole image that hardly a lesion fills, but an inverted mask does


class CropConfig(Config):
    """How crops are cut.

    The crop is a square: the longer edge of the lesion's box times `context`.
    """

    renamed: ClassVar[dict[str, str]] = STORED_NAMES

    image_size: int = Field(ge=16, multiple_of=MASK_STEP, description="height and width, pixels")
    context: float = Field(ge=1.0, le=10.0, description="1.0 is the tight box of the paper")
    padding: PaddingMode = Field("shift", description="what a square does beyond the image's edge")
    component_share: float = Field(
        0.01, ge=0, lt=1, description="mask components below this share of its area are ignored"
    )
    flip_to_left: bool = Field(False, description="mirror so that the chest wall is on the left")
    backgrounds_per_image: int = Field(0, ge=0, description="breast patches away from lesions")
    background_coverage: float = Field(0.75, ge=0, le=1, description="least share of breast")
    background_size: float = Field(
        0.06,
        gt=0,
        le=1,
        description="size of a patch before `context`, as a share of the image's height, where "
        "the image has no lesion to copy the size from; 0.06 is that of a median lesion",
    )
    normalization: NormalizationConfig = NormalizationConfig()
    decoding: DecodingConfig = DecodingConfig()

    def stored(self) -> dict[str, Any]:
        """Values under the names that crop stores and registered models keep, fit for JSON."""
        old = {new: old for old, new in self.renamed.items()}
        return {old.get(name, name): value for name, value in self.model_dump(mode="json").items()}

    @classmethod
    def from_stored(cls, values: Any) -> Self:
        """Read what `stored` gave."""
        if isinstance(values, Mapping):
            values = {cls.renamed.get(name, name): value for name, value in values.items()}
        return cls.model_validate(values)


@dataclass(frozen=True)
class LesionTask:
    """One lesion to cut: files of its masks, relative to the raw root, or a box without masks."""

    lesion_id: str
    mask_paths: tuple[str, ...]
    box: Box | None = None


@dataclass(frozen=True)
class ImageTask:
    """One mammogram and the lesions to cut from it; `image_path` is relative to the raw root.

    Attributes:
        lesions: Empty for an image in which nothing is marked, which gives background patches only.
        official_split: Part of the data set's own split, or None.
        no_backgrounds: Why a patch of it may hold a lesion that is not among `lesions`; else empty.
        photometric: What the grey levels mean where the file does not say it.
    """

    image_id: str
    image_path: str
    patient_id: str
    lesions: tuple[LesionTask, ...]
    official_split: str | None = None
    no_backgrounds: str = ""
    photometric: Photometric | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """All files of the task, relative to the raw root."""
        return (self.image_path, *(path for lesion in self.lesions for path in lesion.mask_paths))

    def fingerprint(self, raw_root: Path, settings: str, names: Mapping[str, str]) -> str:
        """Hash of settings, task and files, which count by size and time of change.

        Reading them would take as long as decoding. `names` are those of files on disk, by those of
        the task where they differ.
        """
        paths = [raw_root / names.get(name, name) for name in self.files]
        stats = [path.stat() if path.exists() else None for path in paths]
        states = [stat and (stat.st_size, stat.st_mtime_ns) for stat in stats]
        text = settings + json.dumps([asdict(self), states])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class ImageCrops:
    """What was cut from one mammogram: manifest rows and audit rows (`problems`) go with it.

    Attributes:
        crops: (n, H, H) uint16.
        masks: (n, H / 8, H / 8) uint8, lesion coverage of each cell, 255 for all of it.
    """

    crops: NDArray[np.uint16]
    masks: NDArray[np.uint8]
    rows: list[dict[str, Any]]
    problems: list[dict[str, str]]


def cut_image(
    task: ImageTask, raw_root: Path, config: CropConfig, names: Mapping[str, str] | None = None
) -> ImageCrops:
    """Decode a mammogram once and cut all its lesions and background patches.

    A lesion that cannot be cut, and an image that cannot be read, become audit rows.

    Args:
        task: The mammogram and its lesions.
        raw_root: Folder of the raw data.
        config: How to cut.
        names: Path of each file by its pseudonym, where the task names files by these.
    """
    cutter = _Cutter(task, config, names or {})
    if task.no_backgrounds and not task.lesions:
        cutter.note_no_backgrounds()
        return cutter.result()
    try:
        image = cutter.read(raw_root, task.image_path, task.photometric)
    except DecodingError as error:
        for name in [lesion.lesion_id for lesion in task.lesions] or [""]:
            code = f"image_{error.code}"
            cutter.note_of_decoder(name, task.image_path, code, "left out", error.detail)
        return cutter.result()
    cutter.start(image)
    for lesion in task.lesions:
        mask = _lesion_mask(lesion, raw_root, image.pixels.shape, cutter)
        if mask is not None:
            cutter.add_lesion(lesion, mask)
    # Where lesions are known to be but not where, no patch is known to be free of them.
    if task.no_backgrounds:
        cutter.note_no_backgrounds()
    elif len(cutter.boxes) == len(task.lesions):
        cutter.add_backgrounds()
    return cutter.result()


def _lesion_mask(
    lesion: LesionTask, raw_root: Path, shape: tuple[int, int], cutter: "_Cutter"
) -> LesionMask | None:
    if not lesion.mask_paths:
        return mask_from_box(lesion.box and lesion.box.clipped(*shape))
    masks = []
    for path in lesion.mask_paths:
        try:
            decoded = cutter.read(raw_root, path)
        except DecodingError as error:
            code = f"mask_{error.code}"
            cutter.note_of_decoder(lesion.lesion_id, path, code, "left out", error.detail)
            return None
        masks.append(mask := mask_from_image(decoded, shape))
        for code, detail in decoded.remarks:
            cutter.note_of_decoder(lesion.lesion_id, path, code, "kept", detail)
        if mask.levels:
            detail = f"regions of the levels {', '.join(map(str, mask.levels))} are all marked"
            cutter.note(lesion.lesion_id, path, "mask_levels", "kept", detail)
    mask = union(masks)
    share = mask.marked.sum() / (shape[0] * shape[1])
    if share > _MOST_MARKED:
        # It may be right: of an image that is a crop already, or a label of the whole image.
        detail = f"{share:.0%} of the image is marked; is the mask black on white?"
        path = lesion.mask_paths[0]
        cutter.note(lesion.lesion_id, path, "mask_covers_image", "kept", detail)
    return mask


class _Cutter:
    """Gathers the crops of one image, all with the same grey range."""

    def __init__(self, task: ImageTask, config: CropConfig, names: Mapping[str, str]) -> None:
        self.task, self.config, self.names = task, config, names
        self.crops: list[NDArray[np.uint16]] = []
        self.masks: list[NDArray[np.uint8]] = []
        self.rows: list[dict[str, Any]] = []
        self.audit = AuditLog()
        self.note = self.audit.note
        self.boxes: list[Box] = []

    def read(
        self, raw_root: Path, file: str, photometric: Photometric | None = None
    ) -> DecodedImage:
        path = raw_root / self.names.get(file, file)
        return read_image(path, self.config.decoding, photometric)

    def note_of_decoder(
        self, lesion_id: str, file: str, code: str, action: str, detail: str
    ) -> None:
        # It may quote the path and the header of the file.
        self.note(lesion_id, file, code, action, _UNQUOTED if self.names else detail)

    def start(self, image: DecodedImage) -> None:
        self.pixels, self.bits = image.pixels, image.source_bits
        self.step = max(1, min(image.pixels.shape) // _THUMBNAIL_SIZE)
        thumbnail = np.ascontiguousarray(image.pixels[:: self.step, :: self.step])
        self.breast = breast_mask(thumbnail)
        for code, detail in image.remarks:
            self.note_of_decoder("", self.task.image_path, code, "kept", detail)
        if has_white_air(thumbnail):
            detail = "what surrounds the breast is white: set photometric to MONOCHROME1 if so"
            self.note("", self.task.image_path, "white_air", "kept", detail)
        grey_range = self.config.normalization.grey_range
        self.low, self.high = grey_range(thumbnail[self.breast], image.max_value)
        self.flip = self.config.flip_to_left and chest_wall_edge(self.breast) == "right"

    def add_lesion(self, lesion: LesionTask, mask: LesionMask) -> None:
        name = lesion.lesion_id
        box = mask.box(self.config.component_share)
        if box is None:
            file = lesion.mask_paths[0] if lesion.mask_paths else self.task.image_path
            self.note(name, file, "mask_empty", "left out", "no pixel is marked")
            return
        square = square_around(box, self.config.context)
        self.boxes.append(box)
        self._add(name, "lesion", box, square, mask)
        inside = self._share_of_breast(box)
        whole = box.width * box.height > _MOST_MARKED * self.pixels.size  # a label of the image
        if inside < _LEAST_INSIDE and not whole:
            detail = f"{inside:.0%} of the lesion's box is in the breast; is the image mirrored?"
            self.note(name, self.task.image_path, "outside_breast", "kept", detail)
        if self.rows[-1]["upsampled"]:
            detail = f"{square.width} px enlarged to {self.config.image_size} px"
            self.note(name, self.task.image_path, "small_lesion", "upsampled", detail)

    def note_no_backgrounds(self) -> None:
        if self.config.backgrounds_per_image:
            detail = f"none is cut: {self.task.no_backgrounds}"
            self.note("", self.task.image_path, "few_backgrounds", "kept", detail)

    def add_backgrounds(self) -> None:
        name_hash = hashlib.sha256(self.task.image_id.encode()).digest()
        random = np.random.default_rng(int.from_bytes(name_hash[:8], "big"))
        height, width = self.pixels.shape
        sizes = [max(box.width, box.height) for box in self.boxes]
        sizes = sizes or [max(1, round(self.config.background_size * height))]
        wanted, found = self.config.backgrounds_per_image, 0
        for _ in range(_BACKGROUND_TRIES * wanted):
            size = int(sizes[random.integers(len(sizes))] * self.config.context)
            size = min(size, height, width)
            x0, y0 = (int(random.integers(limit - size + 1)) for limit in (width, height))
            square = Box(x0, y0, x0 + size, y0 + size)
            covered = self._share_of_breast(square) >= self.config.background_coverage
            if covered and not any(square.overlaps(box) for box in self.boxes):
                found += 1
                name = f"{self.task.image_id}_background_{found}"
                self._add(name, "background", square, square, None)
            if found == wanted:
                return
        if wanted:
            detail = f"{found} of {wanted} patches fit into the breast beside the lesions"
            self.note("", self.task.image_path, "few_backgrounds", "kept", detail)

    def _share_of_breast(self, box: Box) -> float:
        rows = slice(box.y0 // self.step, -(-box.y1 // self.step))
        columns = slice(box.x0 // self.step, -(-box.x1 // self.step))
        return float(self.breast[rows, columns].mean())

    def _add(self, crop_id: str, kind: str, box: Box, square: Box, mask: LesionMask | None) -> None:
        height, width = self.pixels.shape
        if self.config.padding == "shift":
            square = shift_inside(square, height, width)
        piece, outside = cut(self.pixels, square, self.config.padding)
        crop = to_full_range(resample(piece, self.config.image_size), self.low, self.high)
        cells = self.config.image_size // MASK_STEP
        coverage = mask.coverage(square, cells) if mask else np.zeros((cells, cells), np.uint8)
        if crop.min() == crop.max():
            name = crop_id if kind == "lesion" else ""
            detail = f"{crop_id} has one grey level"
            self.note(name, self.task.image_path, "flat_crop", "kept", detail)
        if self.flip:
            crop, coverage = crop[:, ::-1], coverage[:, ::-1]
        self.crops.append(crop)
        self.masks.append(coverage)
        self.rows.append(
            {
                "crop_id": crop_id,
                "kind": kind,
                "patient_id": self.task.patient_id,
                "image_id": self.task.image_id,
                "official_split": self.task.official_split,
                "source_bits": self.bits,
                **{f"box_{name}": value for name, value in vars(box).items()},
                **{f"crop_{name}": value for name, value in vars(square).items()},
                "scale": square.width / self.config.image_size,
                "upsampled": square.width < self.config.image_size,
                "outside_share": outside,
                "flipped": self.flip,
                "grey_low": self.low,
                "grey_high": self.high,
                "sha256": hashlib.sha256(np.ascontiguousarray(crop).data).hexdigest(),
            }
        )

    def result(self) -> ImageCrops:
        size, cells = self.config.image_size, self.config.image_size // MASK_STEP
        crops = np.array(self.crops, np.uint16).reshape(-1, size, size)
        masks = np.array(self.masks, np.uint8).reshape(-1, cells, cells)
        return ImageCrops(crops, masks, self.rows, self.audit.rows)
