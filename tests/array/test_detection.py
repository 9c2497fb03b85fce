"""Regions and anchor boxes against what the papers say, written as loops over float64; larger images; changed elements."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import autograd, np, npx
from blockfuse.ir.errors import ShapeError, UsageError

RNG = numpy.random.default_rng(11)
X = RNG.normal(size=(2, 3, 7, 9)).astype("float32")
ROIS = numpy.array(
    [
        [0, 0, 0, 6, 8],  # an ordinary one
        [1, 3.3, 2.2, 15.5, 9.9],
        [1, 5, 5, 5, 5],  # a pixel
        [0, 9, 9, 2, 3],  # the wrong way round
        [0, -9, -7, 40, 30],  # larger than the image
        [1, 50, 60, 70, 80],  # beside it
        [-1, 0, 0, 4, 4],  # none
    ],
    "float32",
)


def pooled_by_loops(x: Any, rois: Any, size: tuple[int, int], scale: float) -> numpy.ndarray:
    result = numpy.zeros((len(rois), x.shape[1], *size))
    for n, (image, *corners) in enumerate(rois.astype("float64")):
        if image < 0:
            continue
        x1, y1, x2, y2 = (int(math.copysign(math.floor(abs(c * scale) + 0.5), c)) for c in corners)
        for i, j in numpy.ndindex(*size):
            high, wide = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
            rows = range(i * high // size[0] + y1, -(-(i + 1) * high // size[0]) + y1)
            columns = range(j * wide // size[1] + x1, -(-(j + 1) * wide // size[1]) + x1)
            rows, columns = (
                [y for y in rows if 0 <= y < x.shape[2]],
                [c for c in columns if 0 <= c < x.shape[3]],
            )
            if rows and columns:
                result[n, :, i, j] = x[int(image)][:, rows][:, :, columns].max((1, 2))
    return result


def between(plane: Any, y: float, x: float) -> Any:
    """All channels at a place between pixels."""
    height, width = plane.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = plane[:, top, left] * (1 - across) + plane[:, top, right] * across
    lower = plane[:, bottom, left] * (1 - across) + plane[:, bottom, right] * across
    return upper * (1 - down) + lower * down


def aligned_by_loops(
    x: Any, rois: Any, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> numpy.ndarray:
    result = numpy.zeros((len(rois), x.shape[1], *size))
    for n, (image, *corners) in enumerate(rois.astype("float64")):
        if image < 0:
            continue
        x1, y1, x2, y2 = (c * scale - 0.5 * aligned for c in corners)
        high, wide = (y2 - y1, x2 - x1) if aligned else (max(y2 - y1, 1.0), max(x2 - x1, 1.0))
        step = high / size[0], wide / size[1]
        down, across = (ratio if ratio > 0 else max(math.ceil(s), 0) for s in step)
        for i, j in numpy.ndindex(*size):
            total: Any = 0.0
            for k, m in numpy.ndindex(down, across):
                y, c = y1 + (i + (k + 0.5) / down) * step[0], x1 + (j + (m + 0.5) / across) * step[1]
                total = total + between(x[int(image)].astype("float64"), y, c)
            result[n, :, i, j] = total / max(down * across, 1)
    return result


@pytest.mark.parametrize(("size", "scale"), [((2, 3), 0.5), ((7, 7), 1.0), ((1, 1), 0.25)])
def test_roi_pooling_is_that_of_fast_r_cnn(size: tuple[int, int], scale: float) -> None:
    found = npx.roi_pooling(np.array(X), np.array(ROIS), size, scale).asnumpy()
    numpy.testing.assert_array_equal(found, pooled_by_loops(X, ROIS, size, scale).astype("float32"))


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("size", "scale", "ratio"), [((2, 3), 0.5, 2), ((3, 2), 1.0, 3), ((2, 2), 0.5, -1)])
def test_roi_align_is_that_of_mask_r_cnn(
    size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> None:
    found = npx.roi_align(np.array(X), np.array(ROIS), size, scale, ratio, aligned=aligned).asnumpy()
    wanted = aligned_by_loops(X, ROIS, size, scale, ratio, aligned)
    numpy.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_regions_are_read_by_programs() -> None:
    def features(x: Any, rois: Any) -> Any:
        return npx.roi_pooling(x, rois, (2, 3), 0.5), npx.roi_align(x, rois, (2, 3), 0.5, 2)

    compiled, operands = blockfuse.hybridize(features), (np.array(X), np.array(ROIS))
    wanted = features(*operands)
    for _ in range(2):
        for mine, theirs in zip(compiled(*operands), wanted, strict=True):
            numpy.testing.assert_allclose(mine.asnumpy(), theirs.asnumpy(), rtol=1e-5, atol=1e-6)
    assert "compiled" in compiled.explain().split("\n")[0]


def test_as_many_points_as_pixels_is_a_question_that_python_asks() -> None:
    function = blockfuse.hybridize(lambda x, rois: npx.roi_align(x, rois, (2, 2), 0.5))
    for _ in range(2):
        found = function(np.array(X), np.array(ROIS)).asnumpy()
        numpy.testing.assert_allclose(
            found, aligned_by_loops(X, ROIS, (2, 2), 0.5, -1, False), rtol=1e-5, atol=1e-5
        )
    assert "eager" in function.explain().split("\n")[0]


@pytest.mark.parametrize("name", ["pooling", "align"])
def test_gradients_of_regions_are_differences(name: str) -> None:
    def total(values: Any) -> Any:
        if name == "pooling":
            return (npx.roi_pooling(values, rois, (2, 2), 0.5) * weights).sum()
        return (npx.roi_align(values, rois, (2, 2), 0.5, 2) * weights).sum()

    rois, weights = np.array(ROIS), np.array(RNG.normal(size=(len(ROIS), 3, 2, 2)))
    x, direction = np.array(X.astype("float64")), RNG.normal(size=X.shape)
    x.attach_grad()
    rois.attach_grad()
    with autograd.record():
        loss = total(x)
    loss.backward()
    step = 1e-6
    ahead, behind = (float(total(np.array(X + s * direction, dtype="float64"))) for s in (step, -step))
    assert (x.grad.asnumpy() * direction).sum() == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)


def test_regions_of_images_that_there_are_not_raise() -> None:
    for function in (npx.roi_pooling, npx.roi_align):
        with pytest.raises(IndexError):
            function(
                np.array(X), np.array([[2.0, 0, 0, 4, 4]]), (2, 2), 1.0, *([2] * (function is npx.roi_align))
            )
        with pytest.raises(ShapeError, match=r"regions \(count, 5\); found shapes"):
            function(np.array(X), np.array(ROIS[:, :4]), (2, 2), 1.0)
    with pytest.raises(UsageError, match="position_sensitive"):
        npx.roi_align(np.array(X), np.array(ROIS), (2, 2), 1.0, position_sensitive=True)


def test_no_region_is_no_feature() -> None:
    none = np.zeros((0, 5))
    assert npx.roi_pooling(np.array(X), none, (2, 3), 1.0).shape == (0, 3, 2, 3)
    assert npx.roi_align(np.array(X), none, (2, 3), 1.0).shape == (0, 3, 2, 3)


def test_anchor_boxes_are_those_of_ssd() -> None:
    sizes, ratios = (0.75, 0.5, 0.25), (1.0, 2.0, 0.5)

    def boxes(x: Any) -> Any:
        return npx.multibox_prior(x, sizes, ratios)

    x = np.zeros((1, 3, 4, 6))
    wanted = []
    for row, column in numpy.ndindex(4, 6):
        for size, ratio in [*((s, 1.0) for s in sizes), *((sizes[0], r) for r in ratios[1:])]:
            wide, high = size * math.sqrt(ratio) * 4 / 6 / 2, size / math.sqrt(ratio) / 2
            y, c = (row + 0.5) / 4, (column + 0.5) / 6
            wanted.append([c - wide, y - high, c + wide, y + high])
    numpy.testing.assert_allclose(boxes(x).asnumpy(), [wanted], rtol=1e-6, atol=1e-6)
    compiled = blockfuse.hybridize(boxes)
    for _ in range(2):
        numpy.testing.assert_allclose(compiled(x).asnumpy(), [wanted], rtol=1e-6, atol=1e-6)
    clipped = npx.multibox_prior(x, sizes, ratios, clip=True).asnumpy()
    numpy.testing.assert_allclose(clipped, numpy.clip([wanted], 0, 1), rtol=1e-6, atol=1e-6)
    moved = npx.multibox_prior(x, (0.2,), steps=(0.5, 0.1), offsets=(0.0, 0.5)).asnumpy()[0, 7]
    numpy.testing.assert_allclose((moved[:2] + moved[2:]) / 2, (0.15, 0.5), rtol=1e-6)


@pytest.mark.parametrize("ind", [[[0, 2, 0], [1, 3, 1]], [2, 0, 2], 1])
def test_index_add_adds_up_and_index_update_takes_the_last(ind: Any) -> None:
    a, places = RNG.normal(size=(3, 4, 2)), numpy.array(ind)
    key = tuple(places) if places.ndim == 2 else (places.reshape(-1),)
    val = RNG.normal(size=a[key].shape)

    def added(a: Any, val: Any) -> Any:
        return npx.index_add(a, np.array(ind, dtype="int64"), val)

    wanted = a.copy()
    numpy.add.at(wanted, key, val)
    compiled = blockfuse.hybridize(added)
    for function in (added, compiled, compiled):
        numpy.testing.assert_array_equal(function(np.array(a), np.array(val)).asnumpy(), wanted)
    assert "compiled" in compiled.explain().split("\n")[0]
    updated = a.copy()
    updated[key] = val
    numpy.testing.assert_array_equal(
        npx.index_update(np.array(a), np.array(ind), np.array(val)).asnumpy(), updated
    )
    assert float(abs(npx.index_add(np.array(a), np.array(ind), 1)).sum()) > 0  # broadcast


def test_gradients_of_changed_elements_go_where_the_elements_came_from() -> None:
    a, val, ind = np.zeros((3, 2)), np.ones((2, 2)), np.array([0, 2])
    a.attach_grad()
    val.attach_grad()
    weights = np.arange(6.0).reshape((3, 2))
    for function, kept in ((npx.index_add, 1.0), (npx.index_update, 0.0)):
        with autograd.record():
            loss = (function(a, ind, val) * weights).sum()
        loss.backward()
        numpy.testing.assert_array_equal(val.grad.asnumpy(), [[0, 1], [4, 5]])
        numpy.testing.assert_array_equal(a.grad.asnumpy(), [[0, kept], [2, 3], [4 * kept, 5 * kept]])


def test_changes_that_do_not_fit_are_refused() -> None:
    a = np.zeros((3, 2))
    for function in (npx.index_add, npx.index_update):
        with pytest.raises(ShapeError, match=r"values of shape \(3,\) cannot be broadcast to \(1, 2\)"):
            function(a, np.array([0]), np.zeros(3))
        with pytest.raises(ShapeError, match="indices for 3 axes"):
            function(a, np.zeros((3, 1), dtype="int64"), 1)
        with pytest.raises(IndexError):
            function(a, np.array([3]), 1)


# -- boxes against boxes -------------------------------------------------------------------------------------


def overlap(one: Any, other: Any) -> float:
    """Of two boxes given by corners, in float64."""
    (a1, b1, a2, b2), (c1, d1, c2, d2) = one, other
    shared = max(min(a2, c2) - max(a1, c1), 0) * max(min(b2, d2) - max(b1, d1), 0)
    union = max(a2 - a1, 0) * max(b2 - b1, 0) + max(c2 - c1, 0) * max(d2 - d1, 0) - shared
    return shared / union if union > 0 else 0.0


BOXES = numpy.array(
    [[0, 0, 2, 2], [1, 0.5, 3, 2], [5, 5, 6, 7], [1, 1, 1, 1], [3, 3, 2, 2], [0, 0, 2, 2]], "float32"
)


def test_boxes_are_compared_each_with_each_eager_and_compiled() -> None:
    one, other = numpy.stack([BOXES, BOXES + 0.25]), BOXES[:4]
    wanted = [[[overlap(a, b) for b in other.tolist()] for a in row] for row in one.tolist()]
    compiled = blockfuse.hybridize(npx.box_iou)
    for function in (npx.box_iou, compiled, compiled, compiled):
        numpy.testing.assert_allclose(function(np.array(one), np.array(other)).asnumpy(), wanted, rtol=1e-6)
    assert ": compiled" in compiled.explain()


def test_boxes_by_their_centre_are_the_same_boxes() -> None:
    centre = numpy.concatenate([(BOXES[:, :2] + BOXES[:, 2:]) / 2, BOXES[:, 2:] - BOXES[:, :2]], axis=1)
    found = npx.box_iou(np.array(centre), np.array(centre[0]), format="center")
    numpy.testing.assert_allclose(found.asnumpy(), [overlap(b, BOXES[0]) for b in BOXES.tolist()], rtol=1e-6)


def test_boxes_have_gradients_and_may_be_none() -> None:
    one = np.array([[0.0, 0.0, 2.0, 2.0]])
    one.attach_grad()
    with autograd.record():
        found = npx.box_iou(one, np.array([[1, -1, 3, 3]]))
    found.backward()
    numpy.testing.assert_allclose(one.grad.asnumpy(), [[0.04, -0.08, 0.2, 0.08]], atol=1e-6)
    assert npx.box_iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert npx.box_iou(np.zeros(4), np.zeros((3, 4))).tolist() == [0, 0, 0]


def test_what_is_no_box_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"four numbers along the last axis; found the shape \(2, 5\)"):
        npx.box_iou(np.ones((2, 5)), np.ones((2, 4)))
    with pytest.raises(UsageError, match="'corners' is not one of corner, center"):
        npx.box_iou(np.ones((2, 4)), np.ones((2, 4)), format="corners")
