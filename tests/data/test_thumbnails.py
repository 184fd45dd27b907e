"""Small pictures."""

import base64
import io

import pytest
from PIL import Image

from clipadapt.data.thumbnails import embedded, thumbnail


@pytest.mark.parametrize(("size", "wanted"), [((400, 200), (96, 48)), ((30, 60), (30, 60)), ((10, 1000), (1, 96))])
def test_it_fits_a_square_and_is_never_enlarged(size, wanted):
    picture = Image.new("RGB", size, "red")
    assert Image.open(io.BytesIO(thumbnail(picture, 96))).size == wanted
    assert picture.size == size, "what a cache handed out stays as it is"
    assert base64.b64decode(embedded(picture, 96)) == thumbnail(picture, 96)


def test_nothing_but_pixels_goes_with_it():
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0110] = "camera"
    Image.new("RGB", (64, 64)).save(file, "JPEG", exif=exif, comment=b"at home")
    picture = Image.open(file)
    small = Image.open(io.BytesIO(thumbnail(picture, 32)))
    assert not dict(small.getexif()) and "comment" not in small.info and picture.info["comment"] == b"at home"
    grey = Image.open(io.BytesIO(thumbnail(Image.new("LA", (8, 8), (9, 0)), 8)))
    assert grey.mode == "RGB"
