from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from workers.results.drawing import class_colour, draw, text_colour


def _result(width: int, height: int, *boxes: tuple[float, float, float, float], label: str = "cup") -> dict[str, Any]:
    names = ("ymin", "xmin", "ymax", "xmax")
    detections = [{"label": label, "score": 0.5, "box": dict(zip(names, box, strict=True))} for box in boxes]
    return {"width": width, "height": height, "detections": detections}


def _changed(image: Image.Image, drawn: Image.Image) -> tuple[int, int, int, int] | None:
    return ImageChops.difference(image, drawn).getbbox()


def test_a_box_is_drawn_where_it_is() -> None:
    """The outline lies on the box's edges, the plate above it; the given image is not touched."""
    image = Image.new("RGB", (400, 300), "gray")

    drawn = draw(image, _result(400, 300, (100.0, 50.0, 200.0, 350.0)))

    assert drawn.getpixel((50, 150)) == drawn.getpixel((350, 150)) == drawn.getpixel((200, 200)) == class_colour("cup")
    assert drawn.getpixel((200, 150)) == (128, 128, 128)
    left, top, right, bottom = _changed(image, drawn) or (0, 0, 0, 0)
    assert (left, right, bottom) == (50, 351, 201)
    assert 80 <= top < 100


def test_a_smaller_picture_gets_smaller_boxes() -> None:
    """Boxes are in pixels of the original; a thumbnail's are scaled."""
    drawn = draw(Image.new("RGB", (200, 150), "gray"), _result(400, 300, (100.0, 50.0, 200.0, 350.0)))

    assert drawn.getpixel((25, 75)) == drawn.getpixel((175, 75)) == class_colour("cup")


@pytest.mark.parametrize("box", [(0.0, 0.0, 5.0, 5.0), (290.0, 390.0, 300.0, 400.0), (0.0, 0.0, 300.0, 400.0)])
def test_the_label_stays_inside(box: tuple[float, float, float, float]) -> None:
    """At every edge the whole plate is in the picture: as much of it as in the middle."""

    def plate(where: tuple[float, float, float, float]) -> int:
        drawn = draw(Image.new("RGB", (400, 300), "gray"), _result(400, 300, where))
        return sum(count for count, colour in drawn.getcolors(1 << 20) or [] if colour == class_colour("cup"))

    assert plate(box) >= plate((150.0, 150.0, 151.0, 151.0)) - 4  # less the dot that the middle one's outline is


@given(
    st.integers(1, 80),
    st.integers(1, 80),
    st.lists(st.tuples(*[st.floats(-1e6, 1e6, allow_nan=False)] * 4), max_size=3),
    st.text(max_size=20),
)
def test_nothing_makes_it_fail(
    width: int, height: int, boxes: list[tuple[float, float, float, float]], label: str
) -> None:
    """Any size, any box, any label: a picture of the same size comes out."""
    drawn = draw(Image.new("RGB", (width, height)), _result(width, height, *boxes, label=label))

    assert drawn.size == (width, height)


@given(st.text())
def test_labels_can_be_read(label: str) -> None:
    """The text has at least the contrast that WCAG asks of large text, 3 : 1, whatever the class."""

    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    plate = class_colour(label)
    dark, light = sorted((luminance(plate), luminance(text_colour(plate))))
    assert (light + 0.05) / (dark + 0.05) >= 3
    assert plate == class_colour(label)
