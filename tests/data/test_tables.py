"""Cells of table files are the text that stands there; rows have the lines that an editor shows."""

import pytest
from data_factory import paint

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.tables import read_table
from clipadapt.errors import CatalogueError


def read(folder, name, content):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    table, lines = read_table(file)
    return table.to_pydict(), None if lines is None else lines.tolist()


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("a,b\n1,2\n3,4\n", [2, 3]),
        ("a,b\n1,2\n3,4", [2, 3]),
        ('a,b\n1,"two\nlines"\n3,4\n', [2, 4]),
        ('a,b\r\n"x\r\ny\r\nz",2\r\n\r\n3,4\r\n', [2, 6]),
        ('"a\nb",c\n1,2\n', [3]),
        ('a,b\n1,"line\u2028separator"\n3,"x\ny"\n5,6\n', [2, 3, 5]),
    ],
)
def test_rows_have_the_lines_that_an_editor_shows(tmp_path, content, lines):
    assert read(tmp_path, "a.csv", content)[1] == lines


def test_the_place_of_an_item_is_its_line(tmp_path):
    for name in ("1.png", "2.png"):
        paint("Red", "", 16, 0).save(tmp_path / name)
    (tmp_path / "metadata.csv").write_text('file_name,text\n1.png,"a\nb\nc"\n2.png,d\n')
    catalogue = Catalogue.load(tmp_path)
    assert [catalogue.place(index).row for index in range(2)] == [2, 5]
    assert catalogue.subset([1]).place(0).row == 5
    (tmp_path / "metadata.jsonl").write_text('\n{"file_name": "1.png"}\n\n{"file_name": "2.png"}\n')
    (tmp_path / "metadata.csv").unlink()
    assert [Catalogue.load(tmp_path).place(index).row for index in range(2)] == [2, 4]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "photo;price;note\n1.png;3,50;x\n"),
        ("a.csv", "photo\tprice\tnote\n1.png\t3,50\tx\n"),
        ("a.tsv", "photo\tprice\tnote\n1.png\t3,50\tx\n"),
        ("a.csv", 'photo,price,note\n1.png,"3,50",x\n'),
        ("a.csv", "photo;price, EUR;note\n1.png;3,50;x\n".replace("price, EUR", "price")),
    ],
)
def test_cells_are_separated_by_what_the_header_uses(tmp_path, name, content):
    assert read(tmp_path, name, content)[0] == {"photo": ["1.png"], "price": ["3,50"], "note": ["x"]}


def test_a_comma_in_a_name_does_not_make_a_semicolon_table_another(tmp_path):
    assert list(read(tmp_path, "a.csv", "photo;price, EUR;note\n1.png;3;x\n")[0]) == ["photo", "price, EUR", "note"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('a,b\n1,"x\ny"\n2\n', "line 4: 1 cells where the header names 2"),
        ("a,b\n1,2\ncafé,3\n".encode("latin-1"), r"line 3: not UTF-8 \(byte 0xe9\)"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a,a\n", "named twice in the header: 'a'"),
        ("a, a\n1,2\n", "named twice in the header: 'a'"),
        ('a,b\n1,"x\n2,y\n3,z\n', r"after line 1: a quotation mark opens a cell and is not closed"),
        ('a,b\n0,w\n1,"x\n2,y\n3,"z\n', "after line 2: a quotation mark opens a cell"),
        ("sep=;\na;b\n1;2\n", "line 1: 'sep=;' is a note for a spreadsheet"),
        (b"\n\n", "empty"),
    ],
)
def test_a_table_that_cannot_be_read_names_the_line(tmp_path, content, message):
    with pytest.raises(CatalogueError, match=message):
        read(tmp_path, "a.csv", content)


def test_inches_and_quoted_quotes_are_text(tmp_path):
    content = 'a,b\n1,5" screen\n2,"5"" screen\non a stand"\n3,z\n'
    assert read(tmp_path, "a.csv", content) == (
        {"a": ["1", "2", "3"], "b": ['5" screen', '5" screen\non a stand', "z"]},
        [2, 3, 5],
    )


def test_spaces_around_names_of_columns_are_no_part_of_them(tmp_path):
    assert read(tmp_path, "a.csv", "photo, price ,\tfit\n1.png, 3,x\n")[0].keys() == {"photo", "price", "fit"}


def test_a_column_without_a_name_is_called_by_its_place_unless_it_is_empty(tmp_path):
    """A data frame's index stands first, and spreadsheets leave separators at the ends of lines."""
    assert read(tmp_path, "a.csv", ",photo,fit,\n0,1.png,x,\n1,2.png,,\n")[0] == {
        "column 1": ["0", "1"], "photo": ["1.png", "2.png"], "fit": ["x", ""],
    }  # fmt: skip
