import pytest

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.members import list_in_text, members


@pytest.mark.parametrize(
    ("cell", "want"),
    [
        ("Red | Blue|Red", ["Red", "Blue"]),
        ("Red|NA", ["Red"]),
        ('["Red", "Blue"]', ["Red", "Blue"]),
        ("['Red', 'Blue', None]", ["Red", "Blue"]),
        ('[38, 39.0, true, "NA"]', ["38", "39", "true"]),
        ('{"choices": ["Red"]}', ["Red"]),
        ("[]", []),
        ("[Red|Blue]", ["[Red", "Blue]"]),
        ("[[1, 2], [3, 4]]", ["[[1, 2], [3, 4]]"]),
        ("", []),
    ],
)
def test_cells_are_taken_apart(cell, want):
    assert members(cell, "|", {"NA"}) == want


@pytest.mark.parametrize("cell", ["Red", "[", "{Red}", '{"a": 1}', "[__import__('os')]"])
def test_text_that_is_no_list(cell):
    assert list_in_text(cell) is None


def load(folder, cells, **options):
    from data_factory import write_table

    rows = [{"file_name": f"{item}.png", "Colours": cell} for item, cell in enumerate(cells)]
    return Catalogue.load(write_table(folder, rows), **options)


def test_an_unknown_member_is_no_value_and_no_part_of_a_caption(tmp_path):
    colours = Attribute("Colours", "multi")
    catalogue = load(tmp_path, ["Red|NA", "NA", "Red | Blue", "['Black', 'Red']"], attributes=[colours])
    assert catalogue.value_sets("Colours") == [{"Red"}, frozenset(), {"Red", "Blue"}, {"Black", "Red"}]
    assert [catalogue.row(item)["Colours"] for item in range(4)] == ["Red", "", "Red|Blue", "Black|Red"]
    assert catalogue.counts("Colours") == {"Red": 3, "Black": 1, "Blue": 1}
    assert catalogue.separators == {"Colours": "|"}
