from __future__ import annotations

from serving.conventions import BoxesScoresLabels
from tests.support.raw_answers import BOX, decoded_rows


def test_padding_and_strange_labels_are_left_out() -> None:
    """Labels that the contract has not (-1 is keras-retinanet's padding), and scores of nothing."""
    listed = BoxesScoresLabels(convention="boxes_scores_labels", label_offset=1)
    far = [[BOX, [0.6, 0.6, 0.9, 0.9], BOX, BOX]]

    answer = decoded_rows({"boxes": far, "scores": [[0.5, 0.9, -1, 0.8]], "labels": [[0, 3, -1, 2]]}, listed)

    assert answer == [[(4, 0.9, [0.6, 0.6, 0.9, 0.9]), (1, 0.5, BOX)]]
