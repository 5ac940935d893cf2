from __future__ import annotations

import numpy as np

from serving.boxes.decode import constants, prepare
from serving.description import ConstantInput, RawInput


def test_images_are_prepared_as_the_course_does() -> None:
    """RGB to BGR, minus the mean, no scaling; or left as they are; or scaled."""
    images = np.array([[[[10, 20, 30]]]], np.uint8)

    caffe = prepare(images, RawInput(channels="bgr", mean=(103.939, 116.779, 123.68)))
    plain_bytes = prepare(images, RawInput(dtype="uint8"))
    scaled = prepare(images, RawInput(mean=(10, 10, 10), scale=(2, 2, 5)))

    np.testing.assert_allclose(caffe[0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-6)
    assert plain_bytes is images
    assert scaled[0, 0, 0].tolist() == [0, 5, 4]


def test_images_may_have_their_channels_first() -> None:
    """After all else: mean and scale go by channel."""
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    raw_input = {"channels": "bgr", "mean": (1, 2, 3), "scale": (4, 5, 6)}

    first, last = (prepare(images, RawInput.model_validate({**raw_input, "layout": x})) for x in ("nchw", "nhwc"))

    assert first.shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(first, np.moveaxis(last, -1, 1))


def test_constants_are_repeated_for_each_image_if_the_contract_says_so() -> None:
    """Each of its own type."""
    sizes = ConstantInput(tensor="sizes", dtype="int64", value=[640, 480], per_image=True)
    raw_input = RawInput(constants=(sizes, ConstantInput(tensor="training", dtype="bool", value=False)))

    made = constants(raw_input, 2)

    assert (made["sizes"].tolist(), made["sizes"].dtype) == ([[640, 480]] * 2, np.dtype(np.int64))
    assert (made["training"].tolist(), made["training"].dtype) == (False, np.dtype(np.bool_))
