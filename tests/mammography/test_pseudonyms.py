import hashlib
import hmac
import stat

import pandas as pd
import pytest
from forty_patients import lesions_of_40_patients
from pandas.testing import assert_frame_equal

from miram.errors import MiramError
from miram.mammography.lesion_table import COLUMNS, validate_lesions
from miram.mammography.pseudonyms import (
    PseudonymKey,
    file_names,
    pseudonym,
    pseudonymize,
    with_own_names,
    with_pseudonyms,
)
from miram.mammography.sources import SOURCES, make_source
from miram.mammography.splits import SplitConfig
from miram.pipelines.rois.nodes import split_lesions

KEY = b"0123456789abcdef"


@pytest.fixture
def lesions():
    table = lesions_of_40_patients()
    table["mask_paths"] = [[f"Doe/{row}.png", "Doe/both.png"] for row in table["image_id"]]
    return table.assign(grade="low", notes="seen by Doe")


def test_a_pseudonym_is_the_hmac_of_kind_and_name():
    expected = hmac.new(KEY, b"patient Doe", hashlib.sha256).hexdigest()[:16]
    assert pseudonym(KEY, "patient", "Doe") == f"patient-{expected}"
    assert pseudonym(b"another key....", "patient", "Doe") != f"patient-{expected}"
    assert pseudonym(KEY, "lesion", "Doe").removeprefix("lesion-") != expected


def test_of_a_lesion_table_only_named_columns_and_no_names_pass(lesions):
    hidden, identities = pseudonymize(lesions, KEY, ["grade"])
    assert list(hidden) == [*(column.name for column in COLUMNS if column.always), "grade"]
    text = hidden.to_csv()
    assert "Doe" not in text and "P_1" not in text and "image.dcm" not in text
    assert set(identities["kind"]) == {"patient", "lesion", "image", "file"}
    assert_frame_equal(validate_lesions(hidden), hidden)


@pytest.mark.parametrize(
    "cell", ["{patient}", "seen: {patient}, left", "{file}", "{stem} (again)", "{lesion}"]
)
def test_a_column_of_labels_that_names_somebody_is_refused_without_saying_whom(lesions, cell):
    lesions["patient_id"] = "KH70" + lesions["patient_id"]
    lesions["lesion_id"] = "KH70" + lesions["lesion_id"]
    lesions["image_path"] = "Films/Jane_Doe.dcm"
    first = lesions.iloc[0]
    names = {"patient": first["patient_id"], "lesion": first["lesion_id"]}
    names |= {"file": "Films/Jane_Doe.dcm", "stem": "Jane_Doe"}
    lesions.loc[0, "notes"] = cell.format(**names)
    with pytest.raises(MiramError, match="1 values of the column 'notes' name a patient") as caught:
        pseudonymize(lesions, KEY, ["grade", "notes"])
    assert not [name for name in names.values() if name in str(caught.value)]


def test_a_label_may_be_as_short_as_a_patient_s_number(lesions):
    lesions["patient_id"] = [str(number) for number in range(len(lesions))]
    hidden, _ = pseudonymize(lesions.assign(grade="2"), KEY, ["grade"])
    assert set(hidden["grade"]) == {"2"}


def test_everything_else_of_a_lesion_stays_beside_its_pseudonym(lesions):
    hidden, identities = pseudonymize(lesions, KEY)
    back = with_own_names(hidden, identities).set_index("lesion_id").loc[lesions["lesion_id"]]
    for name in ("patient_id", "pathology", "leaks"):
        assert back[name].tolist() == lesions[name].tolist()
    files = file_names(identities)
    masks = [[files[name] for name in cell] for cell in back["mask_paths"]]
    assert masks == lesions["mask_paths"].tolist()
    assert hidden.groupby("patient_id").size().tolist() == [2] * 40


def test_the_order_of_rows_does_not_tell_the_order_of_names(lesions):
    hidden, identities = pseudonymize(lesions, KEY)
    reversed_, others = pseudonymize(lesions.iloc[::-1], KEY)
    assert_frame_equal(hidden, reversed_)
    assert_frame_equal(identities, others)
    assert hidden["lesion_id"].is_monotonic_increasing


def test_pseudonyms_and_names_of_others_stay_as_they_are(lesions):
    hidden, identities = pseudonymize(lesions, KEY)
    assert_frame_equal(with_pseudonyms(hidden, identities), hidden)
    other = pd.DataFrame({"lesion_id": ["somebody else's"], "score": [0.5]})
    assert_frame_equal(with_pseudonyms(other, identities), other)


class Crops:
    def __init__(self, lesions):
        self.manifest = pd.DataFrame({"crop_id": lesions["lesion_id"]})


def test_a_patient_is_in_the_same_fold_under_any_key_and_under_none(lesions):
    config = SplitConfig(strategy="cv", folds=4, repeats=2)
    _, nobody = pseudonymize(lesions.iloc[:0], KEY)
    plain = split_lesions(lesions, Crops(lesions), config, nobody)
    assert list(plain["patient_id"]) == list(lesions["patient_id"])
    for key in (KEY, KEY[::-1]):
        hidden, identities = pseudonymize(lesions, key)
        splits = split_lesions(hidden, Crops(hidden), config, identities)
        assert set(splits["patient_id"]) == set(hidden["patient_id"])
        back = with_own_names(splits, identities).set_index("lesion_id")
        assert_frame_equal(back.loc[plain["lesion_id"]], plain.set_index("lesion_id"))


def test_without_a_key_a_random_one_is_made_once_and_only_its_owner_reads_it(tmp_path):
    key = PseudonymKey(tmp_path / "study/pseudonyms.key")
    first = key.read()
    assert (first, len(first)) == (key.read(), 64)
    assert stat.S_IMODE(key.path.stat().st_mode) == 0o600
    assert first != PseudonymKey(tmp_path / "other.key").read()


def test_a_given_key_is_taken_and_neither_written_nor_shown(tmp_path):
    key = PseudonymKey(tmp_path / "pseudonyms.key", "a key of the hospital")
    assert key.read() == b"a key of the hospital"
    assert not list(tmp_path.iterdir())
    assert "hospital" not in repr(key)


def test_a_key_that_can_be_guessed_is_refused(tmp_path):
    with pytest.raises(MiramError, match=r"pseudonyms\.key of the credentials has 6 characters"):
        PseudonymKey(tmp_path / "pseudonyms.key", "secret").read()


def test_only_public_data_keep_their_names_unless_asked():
    named = {name for name, source in SOURCES.items() if not source().pseudonyms}
    assert named == {"phantom", "cbis_ddsm"}
    assert make_source("cbis_ddsm", {"pseudonyms": True}).pseudonyms
