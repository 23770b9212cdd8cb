"""The audit: one log of what was left out, repaired or odd, and the codes all sources share."""

from collections.abc import Iterable

import pandas as pd

from miram.files import harmless_cell

AUDIT_COLUMNS = ("lesion_id", "file", "code", "action", "detail")

ACTIONS = {
    "left out": "the lesion or the file is not used",
    "repaired": "used after the repair that the code names; `repairs` of the lesion lists it too",
    "kept": "used as it is; worth knowing",
    "upsampled": "used, enlarged beyond the film's own pixels",
}

# Codes of more than one source.
SHARED_CODES = {
    "image_missing": "no full mammogram for the lesion. Complete the download",
    "mask_missing": "no mask for the lesion. Complete the download",
    "mask_resized": "the mask has another size but the shape of its image: two scanners",
    "mask_aspect_differs": "the mask has another shape than its image, by more than "
    "`aspect_tolerance`",
    "unreadable": "the file is damaged or not what its name says. Download it again",
    "archive": "an archive. Unpack it",
    "other_file": "neither DICOM nor a picture that is read. Convert it if it is an image",
    "name_not_utf8": "the name of the file or of a folder is not UTF-8. Rename it",
    "duplicate": "the same image is there twice",
}
# Codes of cutting; they are in the audit of the crop store.
CROP_CODES = {
    "mask_empty": "the mask marks no pixel",
    "mask_covers_image": "the mask marks more than 60 % of its image. Invert it if it is black on "
    "white; of an image that is a crop already, and of a label of the whole image, it is right",
    "outside_breast": "more than a tenth of the lesion's box lies outside of the breast, as where "
    "boxes of a mirrored copy are used. Look at the image and its boxes",
    "white_air": "white surrounds the breast, as in a picture with inverted grey levels. Set "
    "`constants: {photometric: MONOCHROME1}` of the source `image_table` if so",
    "odd_window": "window or VOI LUT are not written as the standard asks; `detail` says what is "
    "taken",
    "padding": "pixels with the PixelPaddingValue would not be black; they were made black",
    "above_bits_stored": "pixels hold more bits than the header says. Ask where the file comes "
    "from",
    "mask_levels": "the mask has several levels, as one that numbers its regions; all are marked",
    "flat_crop": "all pixels of the crop have one grey level. Inspect the film and `normalization`",
    "small_lesion": "the crop has fewer pixels than are stored; `scale` in the manifest says by "
    "how much",
    "few_backgrounds": "fewer breast patches than asked for fit beside the lesions, or none is cut "
    "because one might lie on a lesion: see `detail`",
}
# With `image_` or `mask_` before them where they concern a lesion.
DECODING_CODES = {
    "not_found": "no such file",
    "empty": "a file of zero bytes. Download it again",
    "not_dicom": "not a DICOM file inside, nor a picture that is read (JPEG, JPEG 2000, PNG, PGM, "
    "TIFF) where pictures are taken. Convert it, or download it again",
    "no_pixel_data": "an object without an image, such as a report",
    "incomplete_header": "the header lacks what decoding needs",
    "truncated": "the file breaks off. Download it again",
    "unsupported_transfer_syntax": "an encoding that no free decoder opens. Convert it, for "
    "instance with dcmtk's dcmdjpeg",
    "unsupported_depth": "neither 8 nor 16 bits per pixel",
    "undecodable": "the decoder gave up on the pixels. Download it again",
    "multi_frame": "several frames, as of tomosynthesis; single images are taken. Export the "
    "wanted frame as a file of its own",
    "color": "not a grey image",
    "segmentation": "a segmentation object, which holds regions",
    "no_such_voi": "the window or lookup table that `decoding.voi` insists on is not there",
    "bad_lookup_table": "a lookup table, rescale or window that contradicts itself, and that "
    "nothing stands in for",
    "too_large": "a file of more than 512 MB, or an image larger than `rois.decoding` allows, or "
    "one that needs more than 2 GB of memory",
    "too_slow": "reading the file takes more than 8 s and 1 s per 10 MB. Download it again",
    "unreadable": SHARED_CODES["unreadable"],
}


class AuditLog:
    """Collects audit rows: `rows` holds one dictionary per problem or repair."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def note(self, lesion_id: str, file: str, code: str, action: str, detail: str) -> None:
        """Add a row; `lesion_id` and `file` (relative to the raw root) may be empty.

        `code` is one of docs/ingest_audit.md, `action` one of `ACTIONS`.
        """
        texts = (lesion_id, file, str(code), action, detail)
        # Names of files may be any bytes, but no table holds them.
        values = (text.encode(errors="backslashreplace").decode() for text in texts)
        self.rows.append(dict(zip(AUDIT_COLUMNS, values, strict=True)))

    def table(self) -> pd.DataFrame:
        """Give the rows as a table, see `audit_rows`."""
        return audit_rows(self.rows)


def audit_rows(rows: Iterable[dict[str, str]]) -> pd.DataFrame:
    """Make an audit table with the columns `AUDIT_COLUMNS`.

    Cells that a spreadsheet program would take for a formula are made harmless. The table is
    sorted, so that it is the same however the work was distributed.
    """
    audit = pd.DataFrame(list(rows), columns=list(AUDIT_COLUMNS)).map(harmless_cell)
    audit = audit.astype("string").fillna("")
    return audit.sort_values(list(AUDIT_COLUMNS), ignore_index=True)


def summarize_audit(audit: pd.DataFrame) -> pd.DataFrame:
    """Count an audit by code and action, the most frequent first."""
    return (
        audit.groupby(["code", "action"], as_index=False)
        .size()
        .rename(columns={"size": "count"})
        .sort_values(["count", "code"], ascending=[False, True], ignore_index=True)
    )
