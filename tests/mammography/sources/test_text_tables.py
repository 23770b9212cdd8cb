"""A lab's CSV as it comes out of Excel: every cell lands under its header, or it is reported."""

import pytest
import yaml

from miram.errors import MiramError
from miram.mammography.sources.table_columns import read_text_table


def read(tmp_path, text, delimiter=","):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    return read_text_table(tmp_path / "t.csv", delimiter)


def test_a_comma_at_the_end_of_the_rows_alone_shifts_no_column(tmp_path):
    table = read(tmp_path, "file,who,density\na.png,x,1,\nb.png,y,2,\n")
    assert table.to_dict("list") == {
        "file": ["a.png", "b.png"],
        "who": ["x", "y"],
        "density": ["1", "2"],
    }


def test_columns_without_a_name_are_left_out(tmp_path):
    table = read(tmp_path, ",file,who,\n0,a.png,x,\n1,b.png,y,\n")
    assert list(table) == ["file", "who"] and list(table["file"]) == ["a.png", "b.png"]


def test_empty_rows_are_left_out_and_lines_are_those_of_the_file(tmp_path):
    table = read(tmp_path, "\nfile,who\na.png,x\n,,\n\n b.png ,y\n , \n")
    assert list(table.index) == [3, 6] and list(table["file"]) == ["a.png", "b.png"]


def test_a_short_row_has_empty_cells(tmp_path):
    assert read(tmp_path, "a,b,c\n1\n").to_dict("list") == {"a": ["1"], "b": [""], "c": [""]}


def test_a_quoted_cell_may_hold_the_delimiter_and_line_ends(tmp_path):
    table = read(tmp_path, 'a,b\n"1,\n2",3\n4,5\n')
    assert table.to_numpy().tolist() == [["1,\n2", "3"], ["4", "5"]]
    assert list(table.index) == [3, 4]


def test_a_report_as_long_as_a_book_fits_into_a_cell(tmp_path):
    table = read(tmp_path, f'a,report\n1,"{"no finding, " * 20_000}"\n')
    assert table["a"].tolist() == ["1"] and len(table["report"].iloc[0]) == 239_999


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,a\n1,2,3\n", "several columns 'a'"),
        ("a, a \n1,2\n", "several columns 'a'"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, the header 2: .* double quotes"),
        ("a,b\n", "has no rows"),
        ("", "has no rows"),
        (",,\n , \n", "has no rows"),
        ('a,b\n"1,2\n', "cannot be read as a table: unexpected end of data"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, words):
    with pytest.raises(MiramError, match=words):
        read(tmp_path, text)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_another_delimiter_is_named(tmp_path, mark):
    (tmp_path / "t.csv").write_text(f"a{mark}b\n1{mark}2\n")
    with pytest.raises(MiramError) as refused:
        read_text_table(tmp_path / "t.csv", ",")
    advice = str(refused.value).partition("set the option ")[2]
    assert yaml.safe_load(advice) == {"delimiter": mark}


def test_a_workbook_is_named(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04\x84")
    with pytest.raises(MiramError, match=r"t\.xlsx is an Excel file: save it as CSV"):
        read_text_table(tmp_path / "t.xlsx", ",")


def test_a_file_in_another_coding_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes("a\nMüller\n".encode("latin-1"))
    with pytest.raises(MiramError, match="save it as CSV in UTF-8"):
        read_text_table(tmp_path / "t.csv", ",")
