"""What every code of the ingest audit and of the crop audit means, and what to do about it."""

from miram.mammography.decoding.errors import DecodingFailure
from miram.mammography.sources.cbis_ddsm.file_roles import NoteCode

ACTIONS = {
    "left out": "the lesion or the file is not used",
    "repaired": "used after the repair that the code names; `repairs` of the lesion tells it too",
    "went on": "used as it is; worth knowing",
    "upsampled": "used, enlarged beyond the film's own pixels",
}

AUDIT_CODES: dict[str, str] = {
    # The files of a lesion (roles.py).
    NoteCode.IMAGE_MISSING: "no full mammogram for the lesion. Complete the download",
    NoteCode.MASK_MISSING: "no mask for the lesion. Complete the download",
    NoteCode.CROP_MISSING: "the data set's own crop is not there. Nothing to do: it is not needed",
    NoteCode.SWAPPED_COLUMNS: "a file stands in the series of another column of the table and was "
    "told by its content",
    "swapped_files": "the mask column names the crop's file and the crop column the mask's, in one "
    "series. The content told them apart",
    NoteCode.MASK_IN_CROP_SERIES: "the mask was found in the series of the crop column",
    NoteCode.SEVERAL_IMAGES: "several full mammograms in one series; the largest is taken",
    NoteCode.SEVERAL_MASKS: "several masks; their union is taken",
    NoteCode.SEVERAL_CROPS: "several crops; none is needed",
    NoteCode.DIFFERING_COPIES: "copies of one file differ; the largest is taken. Remove the "
    "broken copy, or download it again",
    NoteCode.ROLE_DOUBTFUL: "content and size of a file disagree on what it is; its content "
    "decided. Look at the crop",
    NoteCode.MIXED_FORMATS: "image and mask are of different formats, DICOM and picture",
    NoteCode.UNREADABLE: "the file is damaged or not what its name says. Download it again",
    # The tables and the fit of a mask (sources).
    "path_malformed": "a path of the case description cannot be parsed. Compare with TCIA's table",
    "patient_differs": "the case description names another patient than its path. Compare with "
    "TCIA's table",
    "mask_resized": "the mask has another size but the shape of its image: two scanners",
    "mask_aspect_differs": "the mask has another shape than its image, by more than "
    "`aspect_tolerance`",
    "no_location": "the row has a label of a lesion but neither mask nor box: no crop is cut, nor "
    "backgrounds from its image. Give a mask or a box; for a label of the whole image a box of the "
    "whole image",
    "box_incomplete": "some but not all of the four numbers of a box are given",
    "box_empty": "the box has no area. Check `box_format`",
    "box_outside": "the box lies outside of its image",
    "box_clipped": "the box reached over the edge of its image",
    # Files that belong nowhere (layouts.py, sources).
    "table_unreadable": "a `metadata.csv` that cannot be read. Nothing to do: the headers tell "
    "what it would",
    "mask_or_crop": "a mask or a crop of CBIS-DDSM, no whole mammogram. The source `cbis_ddsm` "
    "reads them",
    "archive": "an archive. Unpack it",
    "picture": "a picture in a folder of DICOM files; the source `image_table` takes pictures",
    "no_series_uid": "neither header nor folder tell the series of the file",
    "duplicate": "the same image is there twice",
    "other_modality": "not a mammogram by its Modality",
    "for_processing": "a raw detector image; its contrast is another",
    "no_patient": "the patient of the image cannot be known, so that it cannot be split",
    "patient_from_study": "PatientID is empty; each study counts as a patient",
    "read_from_name": "view or side come from the file name",
    # Cutting (cropping.py); these are in the audit of the crop store.
    "mask_empty": "the mask marks no pixel",
    "mask_covers_image": "the mask marks more than 60 % of its image. Invert it if it is black on "
    "white; of an image that is a crop already, and of a label of the whole image, it is right",
    "flat_crop": "all pixels of the crop have one grey level. Look at the film and at "
    "`normalization`",
    "small_lesion": "the crop has fewer pixels than are stored; `scale` in the manifest tells",
    "few_backgrounds": "fewer breast patches than asked for fit beside the lesions, or none is cut "
    "because one might lie on a lesion: `detail` tells",
}

DECODING_CODES: dict[str, str] = {
    DecodingFailure.NOT_FOUND: "no such file",
    DecodingFailure.EMPTY: "a file of zero bytes. Download it again",
    DecodingFailure.NOT_DICOM: "not a DICOM file inside, nor a JPEG, PNG or TIFF where pictures "
    "are taken. Convert it, or download it again",
    DecodingFailure.NO_PIXEL_DATA: "an object without an image, such as a report",
    DecodingFailure.INCOMPLETE_HEADER: "the header lacks what decoding needs",
    DecodingFailure.TRUNCATED: "the file breaks off. Download it again",
    DecodingFailure.UNSUPPORTED_TRANSFER_SYNTAX: "an encoding that no free decoder opens. "
    "Convert it, for instance with dcmtk's dcmdjpeg",
    DecodingFailure.UNSUPPORTED_DEPTH: "neither 8 nor 16 bits per pixel",
    DecodingFailure.UNDECODABLE: "the decoder gave up on the pixels. Download it again",
    DecodingFailure.MULTI_FRAME: "several frames, as of tomosynthesis; single images are taken. "
    "Export the wanted frame as a file of its own",
    DecodingFailure.COLOR: "not a grey image",
    DecodingFailure.SEGMENTATION: "a segmentation object, which holds regions",
    DecodingFailure.NO_SUCH_VOI: "the window or lookup table that `decoding.voi` insists on is "
    "not there",
    DecodingFailure.BAD_LOOKUP_TABLE: "a lookup table that contradicts itself",
    DecodingFailure.TOO_LARGE: "a file of more than 512 MB, or an image larger than "
    "`rois.decoding` allows",
    DecodingFailure.UNREADABLE: AUDIT_CODES[NoteCode.UNREADABLE],
}


def audit_markdown() -> str:
    """Write the documentation of the audits, code by code."""
    return "\n".join(
        [
            "# The audits",
            "",
            "`data/02_intermediate/ingest_audit.csv` and `audit.csv` in the crop store tell what",
            "was left out, repaired or odd. Columns: `lesion_id` (empty for a file that belongs",
            "to no lesion), `file` (relative to the raw root), `code`, `action`, `detail`.",
            "A lesion that is left out has exactly one row with the action `left out`.",
            "",
            *_table("action", ACTIONS),
            "",
            *_table("code", AUDIT_CODES),
            "",
            "A file that cannot be decoded has one of the codes below, with `image_` before it",
            "for the mammogram of a lesion and `mask_` for its mask.",
            "",
            *_table("decoding code", DECODING_CODES),
            "",
        ]
    )


def explained(code: str) -> bool:
    """Tell whether the documentation has a code, with or without the prefix for its file."""
    bare = code.removeprefix("image_").removeprefix("mask_")
    return code in AUDIT_CODES or bare in DECODING_CODES


def _table(heading: str, rows: dict[str, str]) -> list[str]:
    return [
        f"| {heading} | meaning |",
        "|---|---|",
        *(f"| `{name!s}` | {meaning} |" for name, meaning in rows.items()),
    ]
