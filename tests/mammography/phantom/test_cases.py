"""Cases of the phantom: quirks, splits and tables come near those of CBIS-DDSM."""

import csv
import itertools
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from project_paths import SHARED_DATA
from pydantic import ValidationError

from miram.mammography.phantom import PhantomConfig, draw_cases
from miram.mammography.phantom.cases import spread
from miram.mammography.phantom.files import case_tables

REAL_TABLES = SHARED_DATA / "cbis_ddsm" / "csv"
TABLES = [
    f"csv/{kind}_case_description_{split}_set.csv"
    for kind, split in itertools.product(("mass", "calc"), ("train", "test"))
]
VIEW = ["patient", "laterality", "view"]


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    return draw_cases(PhantomConfig())


def _table_rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(content.decode("ascii"), newline="")))


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_the_line_ends_of_the_real_ones(cases, name):
    content = dict(case_tables(cases, seed=0))[name]
    assert content.endswith(b"\r\n")
    rows = _table_rows(content)
    with_line_feed = "cropped image file path" if "calc" in name else "ROI mask file path"
    assert rows
    for row in rows:
        assert [key for key, value in row.items() if "\n" in value] == [with_line_feed]
        assert row[with_line_feed].endswith(".dcm\n")
    assert content.count(b'.dcm\n"') == len(rows)
    assert content.count(b"\r\n") == len(rows) + 1


@pytest.mark.skipif(not REAL_TABLES.is_dir(), reason="the real tables are not beside the project")
@pytest.mark.parametrize("name", TABLES)
def test_tables_use_the_header_and_the_words_of_the_real_ones(cases, name):
    ours = dict(case_tables(cases, seed=0))[name]
    real = [
        (REAL_TABLES / Path(name.replace("train", split).replace("test", split)).name).read_bytes()
        for split in ("train", "test")
    ]
    assert ours.split(b"\r\n")[0] in [content.split(b"\r\n")[0] for content in real]
    known = [row for content in real for row in _table_rows(content)]
    for column in known[0]:
        if column != "patient_id" and "path" not in column:
            words = {word for row in known for word in row[column].split("-")}
            assert {word for row in _table_rows(ours) for word in row[column].split("-")} <= words


@pytest.mark.parametrize("patients", [40, 100])
def test_every_quirk_occurs_from_forty_patients_on(patients):
    flags = draw_cases(PhantomConfig(patients=patients)).select_dtypes(bool)
    assert {"mixed", "mask_mismatch", "swapped_files", "blank_mask", "shares_view"} < set(flags)
    assert flags.any().all() and not flags.all().any()


def test_hundred_patients_hold_what_the_real_set_holds(cases):
    assert 220 <= len(cases) <= 270
    assert 1.0 <= len(cases) / cases.groupby(VIEW).ngroups <= 1.3
    assert set(cases["view"]) == {"CC", "MLO"}
    assert cases.groupby(VIEW)["pathology"].apply(lambda found: {"MALIGNANT"} < set(found)).any(), (
        "images with lesions of different pathology"
    )
    assert (cases.groupby(VIEW)["kind"].nunique() == 2).any(), "one view in both tables"
    assert (cases["density_written"] == 0).any()
    assert {"NA"} < set(cases["first_written"])
    words = set("-".join(cases["first_written"]).split("-"))
    assert {"LUCENT_CENTER", "LUCENT_CENTERED"} <= words
    for kind, labels in itertools.product(("mass", "calcification"), ("first", "second")):
        assert cases.loc[cases["kind"] == kind, f"{labels}_written"].str.contains("-").any()
    assert cases.loc[cases["mask_mismatch"], "kind"].eq("mass").all()
    both_sides = cases.groupby("patient")["laterality"].nunique()
    assert 0 < (both_sides == 2).sum() < 25


def test_a_few_patients_leak_between_the_official_splits(cases):
    splits = cases.groupby("patient_id")["split"].nunique()
    assert 2 <= (splits == 2).sum() <= 5
    # Each kind alone is split by patient, as in the real tables.
    assert (cases.groupby(["patient_id", "kind"])["split"].nunique() == 1).all()
    assert 0.15 <= cases[cases["split"] == "test"]["patient"].nunique() / 100 <= 0.25


def test_rates_come_near_the_real_ones_in_a_large_phantom():
    cases = draw_cases(PhantomConfig(patients=1566))
    masses, calcifications = (cases[cases["kind"] == k] for k in ("mass", "calcification"))
    assert cases["mirrored"].mean() == pytest.approx(0.37, abs=0.02)
    assert cases["zero_assessment"].mean() == pytest.approx(238 / 3568, abs=0.002)
    assert masses["separate_series"].mean() == pytest.approx(103 / 1696, abs=0.002)
    assert calcifications["separate_series"].sum() <= 2
    assert masses["mask_mismatch"].mean() == pytest.approx(78 / 1696, abs=0.002)
    assert calcifications["missing_second_label"].mean() == pytest.approx(439 / 1872, abs=0.002)
    assert cases["blank_mask"].mean() == pytest.approx(566 / 10237, abs=0.002)
    assert len(cases) == pytest.approx(3568, rel=0.1)


@pytest.mark.parametrize("patients", [2, 3, 12])
def test_small_phantoms_have_both_splits(patients):
    cases = draw_cases(PhantomConfig(patients=patients))
    assert cases["patient"].nunique() == patients
    assert set(cases["split"]) == {"train", "test"}
    assert [name for name, _ in case_tables(cases, seed=0)] == TABLES


def test_cases_do_not_depend_on_the_image_size(cases):
    pd.testing.assert_frame_equal(cases, draw_cases(PhantomConfig(image_size=320)))


def test_one_view_can_be_asked_for_and_impossible_values_are_refused():
    assert set(draw_cases(PhantomConfig(patients=12, views=("MLO",)))["view"]) == {"MLO"}
    for wrong in ({"patient": 10}, {"label_noise": 0.5}):
        with pytest.raises(ValidationError):
            PhantomConfig(**wrong)


def test_draws_are_spread_evenly_within_each_stratum():
    strata = pd.DataFrame({"split": ["a"] * 10 + ["b"] * 4, "kind": ["x"] * 7 + ["y"] * 7})
    drawn = spread(strata, np.random.default_rng(0))
    for _, rows in strata.groupby(["split", "kind"]):
        found = np.floor(drawn[rows.index] * len(rows)).astype(int)
        assert sorted(found) == list(range(len(rows)))
