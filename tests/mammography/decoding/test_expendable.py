"""Whatever a file does to its decoder, the reason is given and the next file is read."""

import os
import runpy
import threading

import numpy as np
import psutil
import pytest
from dicom_files import dicom
from project_paths import PROJECT

from miram.mammography.crops.cut import CropConfig, ImageTask, cut_image
from miram.mammography.decoding import expendable
from miram.mammography.decoding.read import DecodingError, read_header, read_image

HOSTILE = PROJECT.parent / "shared" / "cases" / "hostile"
REASONS = {
    "gdcm_terminate.dcm": "undecodable",
    "rle_panic.dcm": "undecodable",
    "extra_frame.dcm": "multi_frame",
    "jp2_boxed_large.dcm": "too_large",
    "deflate_late_syntax.dcm": "too_large",
}
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


@pytest.fixture
def good(saved):
    return saved(dicom(RAMP, 12), "good.dcm")


def failure_of(script, text):
    """How a reader fails that does what a script says."""
    script.write_text(text)
    with pytest.raises(DecodingError) as caught:
        expendable._ask(script, (runpy.run_path, script, (), {}))
    assert str(script) in str(caught.value)
    return caught.value


def workers():
    return [child for child in psutil.Process().children() if "serve()" in child.cmdline()[-1]]


def test_a_warning_that_quotes_a_header_reaches_no_log(good, capfd, caplog, recwarn):
    odd = good.read_bytes().replace(b"1.3.6.1.1\0", b"1.3.Okonkwo"[:10])
    good.write_bytes(odd)
    assert read_header(good).sop_instance_uid == "1.3.Okonkw"
    np.testing.assert_array_equal(read_image(good).pixels, RAMP)
    said = "".join([*capfd.readouterr(), *caplog.messages, *(str(one.message) for one in recwarn)])
    assert "Okonkw" not in said


@pytest.mark.parametrize("name", REASONS)
def test_a_hostile_file_is_one_row_of_the_audit(name, tmp_path, good):
    if not HOSTILE.is_dir():
        pytest.skip(f"the hostile files are not at {HOSTILE}")
    (tmp_path / name).write_bytes((HOSTILE / name).read_bytes())
    task = ImageTask("image", name, "patient", ())
    (row,) = cut_image(task, tmp_path, CropConfig(image_size=64, context=1.25)).problems
    assert (row["file"], row["code"]) == (name, f"image_{REASONS[name]}")
    np.testing.assert_array_equal(read_image(good).pixels, RAMP)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import os; os.abort()", "undecodable"),
        ("raise SystemExit", "undecodable"),
        ("bytes(3 * 2**30)", "too_large"),
        pytest.param("while True: pass", "too_slow", marks=pytest.mark.slow),
    ],
)
def test_the_end_of_a_reader_is_a_reason(text, code, tmp_path, good):
    assert failure_of(tmp_path / "reader.py", text).code == code
    np.testing.assert_array_equal(read_image(good).pixels, RAMP)


def test_a_process_killed_between_two_files_costs_neither(good):
    read_header(good)
    for worker in workers():
        worker.kill()
    assert read_header(good).rows == 64


def test_a_file_is_not_blamed_for_what_an_earlier_one_did(tmp_path, good):
    read_header(good)
    mark = tmp_path / "mark"
    text = f"import os, pathlib; mark = pathlib.Path({str(mark)!r}); new = mark.exists()\n"
    text += "mark.touch()\nif not new: os.abort()\nraise ValueError('a second process')"
    assert "a second process" in failure_of(tmp_path / "reader.py", text).detail


def test_the_process_is_kept_and_reads_as_this_one_does(good):
    read_header(good)
    kept = workers()
    image = read_image(good)
    here = read_image.__wrapped__(good)
    np.testing.assert_array_equal(image.pixels, here.pixels)
    assert image.pixels.dtype == here.pixels.dtype
    assert not image.pixels.flags.writeable
    assert {**vars(image), "pixels": 0} == {**vars(here), "pixels": 0}
    assert kept and workers() == kept


def test_a_path_is_taken_from_where_the_caller_stands(good, tmp_path, monkeypatch):
    read_header(good)
    monkeypatch.chdir(tmp_path)
    assert read_header("good.dcm").rows == 64


def test_threads_and_forked_processes_do_not_take_each_others_answers(tmp_path):
    paths = []
    for rows in range(1, 9):
        paths.append(tmp_path / f"{rows}.dcm")
        dicom(RAMP[:rows], 12).save_as(paths[-1], enforce_file_format=True)
    found = {}

    def read(path):
        found[path.stem] = [len(read_image(path).pixels) for _ in range(2)]

    threads = [threading.Thread(target=read, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {str(rows): [rows] * 2 for rows in range(1, 9)}
    child = os.fork()
    if not child:
        os._exit(len(read_image(paths[6]).pixels))
    assert len(read_image(paths[2]).pixels) == 3
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
