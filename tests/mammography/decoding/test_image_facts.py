"""Size and depth of files, and the words for those that are none."""

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image
from pydantic import ValidationError

from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.guards import LARGEST_FILE
from miram.mammography.decoding.headers import image_facts
from miram.mammography.decoding.read import DecodingConfig


def save_npy(path):
    np.save(path, np.zeros((40, 30), np.uint16))


def save_bmp(path):
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(path)


def save_text(path):
    path.write_text("no image at all, but long enough to be looked at " * 9)


@pytest.mark.parametrize(
    ("name", "save"), [("a.npy", save_npy), ("a.bmp", save_bmp), ("a.dcm", save_text)]
)
def test_a_file_of_another_format_is_told_what_is_read(tmp_path, name, save):
    save(tmp_path / name)
    with pytest.raises(DecodingError, match="neither DICOM nor a JPEG, PNG or TIFF") as caught:
        image_facts(tmp_path / name)
    assert caught.value.code == "not_dicom"


def test_a_damaged_dicom_file_is_told_its_own_fault(tmp_path):
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + b"junk" * 50)
    with pytest.raises(DecodingError) as caught:
        image_facts(tmp_path / "a.dcm")
    assert "neither DICOM nor" not in caught.value.detail


def test_a_headless_dicom_file_is_still_dicom(tmp_path):
    write_dicom(tmp_path / "whole.dcm", np.zeros((4, 3), np.uint16), bits=12)
    content = (tmp_path / "whole.dcm").read_bytes()
    meta = 144 + int.from_bytes(content[140:144], "little")
    (tmp_path / "a.dcm").write_bytes(content[meta:])
    facts = image_facts(tmp_path / "a.dcm")
    assert (facts.rows, facts.columns, facts.bits) == (4, 3, 12)


def test_a_limit_above_what_headers_are_read_of_is_refused():
    assert DecodingConfig(max_bytes=LARGEST_FILE).max_bytes == LARGEST_FILE
    with pytest.raises(ValidationError, match="less than or equal"):
        DecodingConfig(max_bytes=LARGEST_FILE + 1)
