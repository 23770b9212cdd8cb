"""All files of a phantom as a stream of paths and bytes."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from joblib import Parallel, delayed

from miram.mammography.phantom.cases import draw_cases
from miram.mammography.phantom.config import PhantomConfig
from miram.mammography.phantom.dicom_files import dicom_bytes
from miram.mammography.phantom.places import lesion_places
from miram.mammography.phantom.render import Row, render_view
from miram.mammography.phantom.tables import case_tables

VIEWS_PER_WORKER = 8

File = tuple[str, bytes]


def phantom_files(config: PhantomConfig, workers: int = 1) -> Iterator[File]:
    """Make all files of a phantom in the NBIA classic layout.

    The order and the bytes follow from the configuration alone, whatever the number of
    workers. The four tables come last, so that an interrupted write is visible. Nothing is
    written to disk, and no more than a few views per worker are held in memory.

    Args:
        config: Size, seed, noise and rates.
        workers: Number of processes.

    Yields:
        Path relative to the raw root, with forward slashes, and content.
    """
    cases = draw_cases(config)
    rows: list[Row] = [{str(k): v for k, v in row.items()} for row in cases.to_dict("records")]
    views = [list(view) for _, view in groupby(rows, itemgetter("patient", "side", "view"))]
    if workers == 1:
        for view in views:
            yield from _view_files(view, config)
    else:
        # joblib renders on while the reader is busy: batches bound what it can pile up.
        batch = VIEWS_PER_WORKER * workers
        with Parallel(n_jobs=workers, return_as="generator") as parallel:
            for start in range(0, len(views), batch):
                tasks = (delayed(_view_files)(v, config) for v in views[start : start + batch])
                for files in parallel(tasks):
                    yield from files
    yield from case_tables(cases, config.seed)


def _view_files(rows: list[Row], config: PhantomConfig) -> list[File]:
    """Render one view and encode its image, once per kind of abnormality, crops and masks."""
    first = rows[0]
    side, view = int(first["side"] == "RIGHT"), int(first["view"] == "MLO")
    rendered = render_view(rows, config.image_side, [config.seed, 1, first["patient"], side, view])
    files: dict[str, bytes] = {}
    for row, mask, crop in zip(rows, rendered.masks, rendered.crops, strict=True):
        places = lesion_places(row, config.seed)
        for pixels, place, description, blank in (
            (rendered.image, places.image, "full mammogram images", row["blank_image"]),
            (crop, places.crop, "cropped images", row["blank_crop"]),
            (mask, places.mask, "ROI mask images", row["blank_mask"]),
        ):
            path = f"CBIS-DDSM/{place.path}"
            if path not in files:  # lesions of one kind share their full image
                files[path] = dicom_bytes(pixels, place, "" if blank else description)
    return list(files.items())
