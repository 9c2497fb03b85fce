"""Random colours, crops and rotations of pictures, against their formulas one pixel at a time, and what is refused."""

import colorsys
import math
import re
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from blockfuse import np
from blockfuse.gluon.data.vision import transforms
from blockfuse.ir.errors import DTypeError, ShapeError, UsageError

RANDOM = numpy.random.default_rng(11)
LUMA = numpy.array([0.299, 0.587, 0.114])
COLOURS = {
    "brightness": transforms.RandomBrightness,
    "contrast": transforms.RandomContrast,
    "saturation": transforms.RandomSaturation,
    "hue": transforms.RandomHue,
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    np.random.seed(5)


def picture(dtype: str = "float64", channels: int = 3, *batch: int) -> numpy.ndarray:
    return RANDOM.integers(0, 256, (*batch, 4, 6, channels)).astype(dtype)


def many(transform: Callable[[Any], Any], x: numpy.ndarray, times: int = 40) -> list[numpy.ndarray]:
    return [transform(np.array(x)).asnumpy() for _ in range(times)]


def factors(changed: numpy.ndarray, same: numpy.ndarray) -> numpy.ndarray:
    """How many times as large each number is, where it says anything."""
    told = abs(same) > 1
    return changed[told] / same[told]


# -- colours -------------------------------------------------------------------------------------------------


def centre(name: str, x: numpy.ndarray) -> numpy.ndarray:
    """The picture for a factor of 0."""
    grey = (x * LUMA).sum(-1)
    return {
        "brightness": numpy.zeros_like(x),
        "contrast": numpy.full_like(x, grey.mean()),
        "saturation": numpy.stack([grey] * 3, -1),
    }[name]


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize(("amount", "low", "high"), [(0.4, 0.6, 1.4), (3, 0, 4), (0, 1, 1)])
def test_distances_are_multiplied_by_one_factor_between_the_bounds(
    name: str, amount: float, low: float, high: float
) -> None:
    x = picture()
    middle = centre(name, x)
    found = [factors(changed - middle, x - middle) for changed in many(COLOURS[name](amount), x)]
    assert all(numpy.ptp(one) < 1e-9 for one in found)
    drawn = [one.mean() for one in found]
    assert low - 1e-6 <= min(drawn)
    assert max(drawn) <= high + 1e-6
    assert max(drawn) - min(drawn) >= 0.8 * (high - low)


def test_each_picture_of_a_batch_has_its_own_contrast() -> None:
    x = picture("float64", 3, 2)
    x[1] /= 4
    changed = transforms.RandomContrast(0.9)(np.array(x)).asnumpy()
    for one, before in zip(changed, x, strict=True):
        assert abs((one * LUMA).sum(-1).mean() - (before * LUMA).sum(-1).mean()) < 1e-9


def plane(x: numpy.ndarray) -> numpy.ndarray:
    """Luma's rest, I + iQ of YIQ, as complex numbers."""
    return x @ (numpy.array([0.596, -0.274, -0.322]) + 1j * numpy.array([0.211, -0.523, 0.312]))


def test_hue_turns_the_plane_of_i_and_q_and_keeps_luma() -> None:
    x = picture()
    turns = []
    for changed in many(transforms.RandomHue(0.1), x):
        numpy.testing.assert_allclose(changed @ LUMA, x @ LUMA, atol=1e-9)
        ratio = plane(changed) / plane(x)
        numpy.testing.assert_allclose(ratio, ratio[0, 0], atol=1e-6)
        assert abs(abs(ratio[0, 0]) - 1) < 1e-6
        turns.append(numpy.angle(ratio[0, 0]) / (2 * math.pi))
    assert max(map(abs, turns)) <= 0.1 + 1e-6
    assert min(turns) < -0.05
    assert max(turns) > 0.05


def test_hue_reaches_the_colours_of_a_small_turn_both_ways() -> None:
    red = numpy.array([[[200.0, 60, 60]]])
    hues = [colorsys.rgb_to_hsv(*(one[0, 0] / 255))[0] for one in many(transforms.RandomHue(0.05), red)]
    assert any(0.01 < hue < 0.15 for hue in hues)  # to orange
    assert any(0.85 < hue < 0.99 for hue in hues)  # to pink
    assert all(hue < 0.15 or hue > 0.85 for hue in hues)


def test_lighting_adds_a_colour_of_the_published_covariance() -> None:
    x = picture()
    noise = []
    for changed in many(transforms.RandomLighting(0.1), x, 600):
        added = changed - x
        assert numpy.ptp(added, axis=(0, 1)).max() < 1e-9
        noise.append(added[0, 0])
    vectors = numpy.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    along = numpy.array(noise) @ vectors  # the columns are orthonormal
    numpy.testing.assert_allclose(along.std(0), [5.546, 0.4794, 0.1148], rtol=0.15)
    assert (abs(numpy.corrcoef(along.T) - numpy.eye(3)) < 0.2).all()


def test_gray_is_luma_in_all_channels_always_never_or_half_the_time() -> None:
    x = picture("uint8")
    wanted = numpy.rint((x * LUMA).sum(-1))
    for channel in numpy.moveaxis(transforms.RandomGray(1)(np.array(x)).asnumpy(), -1, 0):
        assert abs(channel - wanted).max() <= (abs((x * LUMA).sum(-1) % 1 - 0.5) < 1e-4).max()
    assert (transforms.RandomGray(0)(np.array(x)).asnumpy() == x).all()
    assert 25 < sum((one != x).any() for one in many(transforms.RandomGray(), x, 100)) < 75


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_keep_dtype_and_shape(name: str, dtype: str, channels: int) -> None:
    x = picture(dtype, channels, 2)
    for transform in (COLOURS[name](0.5), transforms.RandomGray(1)):
        found = transform(np.array(x))
        assert (found.dtype, found.shape) == (dtype, x.shape)
    if channels == 1 and name in ("saturation", "hue"):
        assert (COLOURS[name](5)(np.array(x)).asnumpy() == x).all()


@pytest.mark.parametrize("name", COLOURS)
def test_bytes_are_what_floats_give_rounded_and_clipped(name: str) -> None:
    x = picture("uint8")
    np.random.seed(3)
    floats = many(COLOURS[name](2), x.astype("float32"), 5)
    np.random.seed(3)
    for found, wanted in zip(many(COLOURS[name](2), x, 5), floats, strict=True):
        assert (found == numpy.clip(numpy.rint(wanted), 0, 255)).all()
    assert any((one < 0).any() or (one > 255).any() for one in floats)  # so there was something to clip


def test_jitter_applies_what_is_not_zero_in_orders_that_are_drawn() -> None:
    x = picture()
    only = transforms.RandomColorJitter(brightness=0.5)
    np.random.seed(1)
    wanted = many(transforms.RandomBrightness(0.5), x, 3)
    np.random.seed(1)
    assert all((a == b).all() for a, b in zip(many(only, x, 3), wanted, strict=True))
    assert (transforms.RandomColorJitter()(np.array(x)).asnumpy() == x).all()
    jitter = transforms.RandomColorJitter(0.2, 0.2, 0.2, 0.2)
    order: list[str] = []
    for step in jitter._steps:
        step.register_forward_hook(lambda block, _args, _out: order.append(type(block).__name__))
    for _ in range(30):
        jitter(np.array(x))
    orders = {tuple(order[i : i + 4]) for i in range(0, 120, 4)}
    assert all(len(set(one)) == 4 for one in orders)
    assert len(orders) > 8


# -- crops ---------------------------------------------------------------------------------------------------


def places(height: int, width: int) -> numpy.ndarray:
    """An image whose pixels say where they are, from 1 on."""
    return numpy.stack(numpy.mgrid[1 : height + 1, 1 : width + 1], -1).astype("int32")


def test_random_crops_are_parts_from_everywhere() -> None:
    x = places(5, 6)
    found = {tuple(one[0, 0]) for one in many(transforms.RandomCrop((4, 3)), x, 200)}
    assert found == {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}
    for one in many(transforms.RandomCrop((4, 3)), x, 10):
        row, column = one[0, 0] - 1
        assert (one == x[row : row + 3, column : column + 4]).all()


def test_random_crop_pads_each_side() -> None:
    x = places(2, 3)
    whole = transforms.RandomCrop((3 + 3 + 4, 2 + 1 + 2), pad=(1, 2, 3, 4), pad_value=9)(
        np.array(x)
    ).asnumpy()
    assert (whole == numpy.pad(x, ((1, 2), (3, 4), (0, 0)), constant_values=9)).all()
    assert transforms.RandomCrop(4, pad=1)(np.array(places(2, 2))).asnumpy()[:, :, 0].tolist() == [
        [0, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 2, 2, 0],
        [0, 0, 0, 0],
    ]
    assert transforms.RandomCrop(2, pad=1)(np.zeros((7, 2, 2, 3), dtype="uint8")).shape == (7, 2, 2, 3)


def test_crop_resize_takes_the_part_that_is_named() -> None:
    x = picture("float32")
    assert (transforms.CropResize(1, 2, 4, 2)(np.array(x)).asnumpy() == x[2:4, 1:5]).all()
    larger = transforms.CropResize(1, 2, 4, 2, size=(8, 4), interpolation=0)(np.array(x)).asnumpy()
    assert (larger == x[2:4, 1:5].repeat(2, 0).repeat(2, 1)).all()


# -- rotations -----------------------------------------------------------------------------------------------


def rotated_by_hand(x: numpy.ndarray, degrees: float, size: float = 1.0) -> numpy.ndarray:
    """Each pixel of a plane (height, width) looked up by a complex number, and 0 outside."""
    rows, columns = x.shape
    around = numpy.pad(x, 1)
    out = numpy.zeros(x.shape)
    for i in range(rows):
        for j in range(columns):
            place = complex(j - (columns - 1) / 2, (rows - 1) / 2 - i)  # y goes up
            place *= size * complex(math.cos(math.radians(degrees)), -math.sin(math.radians(degrees)))
            column, row = place.real + (columns - 1) / 2 + 1, (rows - 1) / 2 - place.imag + 1
            if 0 <= row < rows + 1 and 0 <= column < columns + 1:
                v, w = row % 1, column % 1
                a, b = int(row), int(column)
                out[i, j] = (1 - v) * ((1 - w) * around[a, b] + w * around[a, b + 1]) + v * (
                    (1 - w) * around[a + 1, b] + w * around[a + 1, b + 1]
                )
    return out


@pytest.mark.parametrize("degrees", [0, 17, -63.5, 200, 765])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rotation_is_that_of_complex_numbers(degrees: float, dtype: str) -> None:
    x = RANDOM.random((2, 3, 5, 8)).astype(dtype)
    found = transforms.Rotate(degrees)(np.array(x))
    assert found.dtype == dtype
    for one, before in zip(found.asnumpy().reshape(6, 5, 8), x.reshape(6, 5, 8), strict=True):
        numpy.testing.assert_allclose(one, rotated_by_hand(before, degrees), atol=1e-5)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_counter_clockwise(turns: int) -> None:
    x = RANDOM.random((3, 5, 5))
    found = transforms.Rotate(90 * turns)(np.array(x)).asnumpy()
    numpy.testing.assert_allclose(found, numpy.rot90(x, turns, (1, 2)), atol=1e-12)


@pytest.mark.parametrize("degrees", [10, 45, 90, -130])
@pytest.mark.parametrize("shape", [(9, 9), (6, 14), (14, 6)])
def test_zooms(degrees: float, shape: tuple[int, int]) -> None:
    whole = np.ones((1, *shape), dtype="float64")
    numpy.testing.assert_allclose(transforms.Rotate(degrees, zoom_in=True)(whole).asnumpy(), 1)
    steep = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    height, width = shape[0] - 1, shape[1] - 1
    size = max(
        (width * steep[0] + height * steep[1]) / width, (width * steep[1] + height * steep[0]) / height
    )
    x = RANDOM.random(shape)
    out = transforms.Rotate(degrees, zoom_out=True)(np.array(x[None])).asnumpy()[0]
    numpy.testing.assert_allclose(out, rotated_by_hand(x, degrees, size), atol=1e-5)


def test_random_rotation_draws_its_angle_and_whether() -> None:
    x = RANDOM.random((1, 5, 5))
    assert (transforms.RandomRotation((-90, 90), rotate_with_proba=0)(np.array(x)).asnumpy() == x).all()
    exact = transforms.RandomRotation((90, 90))(np.array(x)).asnumpy()
    numpy.testing.assert_allclose(exact, numpy.rot90(x, 1, (1, 2)), atol=1e-12)
    half = transforms.RandomRotation((30, 60), rotate_with_proba=0.5)
    assert 25 < sum((one != x).any() for one in many(half, x, 100)) < 75
    ramp = numpy.indices((1, 21, 21))[2].astype("float64") - 10  # its slope tells the angle
    slopes = [one[0, 10, 11] for one in many(transforms.RandomRotation((30, 60)), ramp)]
    angles = numpy.degrees(numpy.arccos(slopes))
    assert 30 <= angles.min() < 38
    assert 52 < angles.max() <= 60


# -- all of them ---------------------------------------------------------------------------------------------


RANDOM_ONES = {
    **{name: (kind(0.5), "uint8") for name, kind in COLOURS.items()},
    "jitter": (transforms.RandomColorJitter(0.4, 0.4, 0.4, 0.4), "uint8"),
    "lighting": (transforms.RandomLighting(0.5), "uint8"),
    "gray": (transforms.RandomGray(), "uint8"),
    "crop": (transforms.RandomCrop(3, pad=1), "uint8"),
    "rotation": (transforms.RandomRotation((-50, 50)), "float32"),
    "apply": (transforms.RandomApply([transforms.RandomBrightness(0.5)]), "uint8"),
}


@pytest.mark.parametrize("name", RANDOM_ONES)
def test_a_seed_repeats_draws_for_arrays_of_both_kinds(name: str) -> None:
    transform, dtype = RANDOM_ONES[name]
    x = picture(dtype)
    before = x.copy()
    np.random.seed(7)
    first = many(transform, x, 8)
    np.random.seed(7)
    second = [transform(x) for _ in range(8)]
    assert all(type(one) is numpy.ndarray for one in second)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert len({one.tobytes() for one in first}) > 1
    assert (x == before).all()


@pytest.mark.long
def test_hybridized_they_draw_the_same() -> None:
    steps = transforms.HybridCompose(
        [
            transforms.RandomCrop(3, pad=1),
            transforms.RandomContrast(0.5),
            transforms.RandomGray(),
            transforms.ToTensor(),
            transforms.RandomRotation((-50, 50)),
        ]
    )
    x = picture("uint8")
    wanted = many(steps, x, 6)
    steps.hybridize()
    np.random.seed(5)
    for one, before in zip(many(steps, x, 6), wanted, strict=True):
        numpy.testing.assert_allclose(one, before, atol=1e-6)


@pytest.mark.parametrize("kind", [transforms.RandomApply, transforms.HybridRandomApply])
def test_random_apply_is_all_or_nothing(kind: Callable[..., Any]) -> None:
    x = picture()
    steps = [lambda x: x + 1, transforms.Cast("float64")]
    assert (kind(steps, 1)(np.array(x)).asnumpy() == x + 1).all()
    assert (kind(lambda x: x + 1, 0)(np.array(x)).asnumpy() == x).all()
    added = [(one - x).mean() for one in many(kind(transforms.Compose(steps)), x, 100)]
    assert set(added) == {0, 1}
    assert 25 < sum(added) < 75


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [-0.1, math.inf, math.nan, "much", None, (0.5, 1)])
def test_amounts_that_are_none(amount: Any) -> None:
    for name, kind in {**COLOURS, "alpha": transforms.RandomLighting}.items():
        with pytest.raises(UsageError, match=f"{name}="):
            kind(amount)
    with pytest.raises(UsageError, match="hue="):
        transforms.RandomColorJitter(hue=amount)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, "0.5", None])
def test_probabilities_that_are_none(p: Any) -> None:
    for kind in (transforms.RandomGray, transforms.RandomFlipLeftRight):
        with pytest.raises(UsageError, match="p="):
            kind(p)
    with pytest.raises(UsageError, match="p="):
        transforms.RandomApply([], p)
    with pytest.raises(UsageError, match="rotate_with_proba="):
        transforms.RandomRotation((0, 1), rotate_with_proba=p)


@pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8), (8,), (), (0, 8, 3), (8, 8, 4)])
def test_pictures_of_other_shapes_are_named(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, dtype="uint8")
    for kind in (*COLOURS.values(), transforms.RandomLighting, transforms.RandomGray):
        with pytest.raises(ShapeError, match=f"{kind.__name__} expects .*found {re.escape(str(shape))}"):
            kind(0.5)(x)


@pytest.mark.parametrize("dtype", ["int64", "int8", "bool", "uint16"])
def test_pictures_of_other_dtypes_are_named(dtype: str) -> None:
    for transform in (
        transforms.RandomHue(0.1),
        transforms.RandomColorJitter(0.1, 0.1),
        transforms.Rotate(3),
    ):
        with pytest.raises(DTypeError, match=f"found {dtype}"):
            transform(np.zeros((4, 4, 3), dtype=dtype))


def test_crops_that_do_not_fit() -> None:
    for size in (5, (4, 5), (5, 4)):
        with pytest.raises(ShapeError, match=r"found \(4, 4, 3\)\. Use Resize"):
            transforms.RandomCrop(size)(np.zeros((4, 4, 3)))
    with pytest.raises(ShapeError, match=r"found \(6, 6, 3\) with what pad adds"):
        transforms.RandomCrop(7, pad=1)(np.zeros((4, 4, 3)))
    with pytest.raises(ShapeError, match=r"\(height, width, channels\)"):
        transforms.RandomCrop(2)(np.zeros((4, 4)))
    for pad in (-1, 0.5, (1, 2), (1, 2, 3, -4), "1"):
        with pytest.raises(UsageError, match="pad="):
            transforms.RandomCrop(2, pad=pad)
    for x, y in ((3, 0), (0, 3)):
        with pytest.raises(ShapeError, match=r"found \(4, 4, 3\)"):
            transforms.CropResize(x, y, 2, 2)(np.zeros((4, 4, 3)))
    with pytest.raises(UsageError, match=r"y=-1"):
        transforms.CropResize(0, -1, 2, 2)
    with pytest.raises(UsageError, match="size="):
        transforms.CropResize(0, 0, 0, 2)


def test_rotations_that_are_none() -> None:
    with pytest.raises(UsageError, match="zoom_in=True, zoom_out=True"):
        transforms.Rotate(3, zoom_in=True, zoom_out=True)
    for limits in (5, (1,), (1, 2, 3), (3, 1), (0, math.inf), ("a", "b")):
        with pytest.raises(UsageError, match="angle_limits="):
            transforms.RandomRotation(limits)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="rotation_degrees="):
        transforms.Rotate("right")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"\(channels, height, width\).*found \(4, 4\)"):
        transforms.Rotate(3)(np.zeros((4, 4)))
    assert transforms.Rotate(30, zoom_out=True)(np.ones((1, 1, 1))).tolist() == [[[1.0]]]
