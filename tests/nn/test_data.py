"""Datasets, samplers, batchify and the order of batches, without workers."""

from collections import namedtuple
from typing import Any

import numpy
import pytest

import blockfuse
from blockfuse import np
from blockfuse.gluon import data
from blockfuse.gluon.data import batchify
from blockfuse.ir.errors import DTypeError, ShapeError, UsageError


def listed(batches: Any) -> list[Any]:
    return [batch.tolist() for batch in batches]


# -- datasets ------------------------------------------------------------------------------------------------


@pytest.fixture
def letters() -> data.SimpleDataset:
    return data.SimpleDataset(list("abcdefg"))


def test_choices_of_choices(letters: data.SimpleDataset) -> None:
    assert list(letters.take(3)) == list("abc")
    assert list(letters.take(99)) == list(letters.take(None)) == list("abcdefg")
    assert list(letters.take(0)) == []
    assert list(letters.sample([4, -1, 4])) == list("ege")
    assert list(letters.filter(lambda x: x > "c").take(2)) == ["d", "e"]
    assert [len(letters.shard(3, index)) for index in range(3)] == [3, 2, 2]
    assert [x for index in range(3) for x in letters.shard(3, index)] == list("abcdefg")
    assert [len(letters.take(2).shard(4, index)) for index in range(4)] == [1, 1, 0, 0]


def test_indices_from_the_end_and_slices(letters: data.SimpleDataset) -> None:
    upper = letters.transform(str.upper)
    assert upper[-1] == "G"
    assert list(upper[1:3]) == ["B", "C"]
    assert list(upper[::-3]) == ["G", "D", "A"]
    assert list(letters.take(4)[-2:]) == ["c", "d"]
    assert letters[2:4] == ["c", "d"]
    for chosen in (upper, letters.take(4)):
        with pytest.raises(IndexError):
            chosen[7]


def test_impossible_choices_are_refused(letters: data.SimpleDataset) -> None:
    for wrong in (lambda: letters.shard(3, 3), lambda: letters.shard(3, -1), lambda: letters.take(-1)):
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(TypeError):
        letters.sample([0.5])


def test_transform_spreads_tuples_and_lazy_means_each_time() -> None:
    calls = []

    def add(x: Any, y: Any) -> Any:
        calls.append(x)
        return x + y

    pairs = data.ArrayDataset([1, 2], [10, 20])
    lazy = pairs.transform(add)
    assert not calls
    assert [lazy[0], lazy[0]] == [11, 11]
    assert calls == [1, 1]
    eager = pairs.transform(add, lazy=False)
    assert [eager[0], eager[0], calls] == [11, 11, [1, 1, 1, 2]]


def test_transform_first_leaves_labels() -> None:
    pairs = data.ArrayDataset([1, 2], ["a", "b"])
    assert list(pairs.transform_first(lambda x: -x)) == [(-1, "a"), (-2, "b")]
    assert list(data.SimpleDataset([1, 2]).transform_first(lambda x: -x)) == [-1, -2]


def test_array_dataset_of_one_array_and_of_slices() -> None:
    X, y = np.arange(6).reshape(3, 2), np.arange(3)
    assert data.ArrayDataset(X)[1].tolist() == [2, 3]
    some, labels = data.ArrayDataset(X, y)[1:]
    assert some.shape == (2, 2)
    assert labels.tolist() == [1, 2]
    assert data.ArrayDataset(data.ArrayDataset(X, y), y)[-1][0][1].item() == 2


def test_array_dataset_needs_one_length() -> None:
    with pytest.raises(ShapeError, match=r"lengths \[3, 2\]"):
        data.ArrayDataset(np.arange(3), [1, 2])
    with pytest.raises(UsageError, match="one array or more"):
        data.ArrayDataset()


def test_a_dataset_without_methods_says_which() -> None:
    with pytest.raises(NotImplementedError, match="Dataset does not define __len__"):
        len(data.Dataset())
    with pytest.raises(NotImplementedError, match="__getitem__"):
        data.Dataset()[0]


# -- samplers ------------------------------------------------------------------------------------------------


def test_random_sampler_follows_the_seed() -> None:
    np.random.seed(3)
    first, second = list(data.RandomSampler(20)), list(data.RandomSampler(20))
    np.random.seed(3)
    assert list(data.RandomSampler(20)) == first != second
    assert sorted(first) == list(range(20))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("interval", [1, 2, 3, 12])
def test_interval_sampler_with_rollover_gives_all(length: int, interval: int) -> None:
    every = data.IntervalSampler(length, interval)
    assert sorted(every) == list(range(length))
    assert len(every) == length
    first = data.IntervalSampler(length, interval, rollover=False)
    assert list(first) == list(range(0, length, interval))
    assert len(first) == len(list(first))


def test_sequential_and_filter_samplers() -> None:
    assert list(data.SequentialSampler(3, start=2)) == [2, 3, 4]
    odd = data.FilterSampler(lambda x: x % 2, data.SimpleDataset([3, 4, 5]))
    assert (list(odd), len(odd)) == ([0, 2], 2)
    for wrong in (lambda: data.SequentialSampler(-1), lambda: data.IntervalSampler(3, 0)):
        with pytest.raises(UsageError):
            wrong()


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 8])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 9])
@pytest.mark.parametrize("last_batch", ["keep", "discard", "rollover"])
def test_batch_sampler_over_four_rounds(length: int, batch_size: int, last_batch: str) -> None:
    batches = data.BatchSampler(data.SequentialSampler(length), batch_size, last_batch)
    seen = []
    for _ in range(4):
        promised = len(batches)
        got = list(batches)
        assert len(got) == promised
        assert all(len(batch) == batch_size for batch in got[: None if last_batch != "keep" else -1])
        seen += [index for batch in got for index in batch]
    whole = list(range(length))
    if last_batch == "discard":
        whole = whole[: length // batch_size * batch_size]
    wanted = whole * 4
    assert seen == (wanted[: len(wanted) // batch_size * batch_size] if last_batch == "rollover" else wanted)


def test_batch_sampler_refuses_what_is_impossible() -> None:
    for batch_size, last_batch in ((0, "keep"), (2, "drop")):
        with pytest.raises(UsageError):
            data.BatchSampler(data.SequentialSampler(3), batch_size, last_batch)


# -- batchify ------------------------------------------------------------------------------------------------


Point = namedtuple("Point", "x y")


def test_stacking_keeps_dtypes() -> None:
    stack = batchify.Stack()
    assert stack([np.zeros(2, dtype="uint8")] * 3).dtype == numpy.uint8
    assert stack([numpy.zeros(2)] * 3).dtype == numpy.float64
    assert stack([numpy.zeros((), ">i4")] * 3).dtype == numpy.int32
    assert stack([1.5, 2]).dtype == numpy.float32
    assert stack([1, 2]).dtype == numpy.int64
    assert stack([True, False]).dtype == bool
    assert stack([numpy.float64(1), numpy.float64(2)]).dtype == numpy.float64
    assert stack([np.array(1.0), np.array(2.0)]).tolist() == [1, 2]


def test_containers_of_samples() -> None:
    dicts = [{"a": 1, "b": (1.0, [2])}, {"a": 3, "b": (4.0, [5])}]
    batch = batchify.default_batchify_fn(dicts)
    assert batch["a"].tolist() == [1, 3]
    assert [part.tolist() for part in batch["b"][1]] == [[2, 5]]
    points = batchify.default_batchify_fn([Point(1, 2), Point(3, 4)])
    assert type(points) is Point
    assert points.x.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("samples", "error", "words"),
    [
        (
            [np.zeros(2), np.zeros(3)],
            ShapeError,
            r"samples 0 and 1 .* \(2,\) and \(3,\): batchify_fn=batchify.Pad",
        ),
        ([np.zeros(2), np.zeros(2, dtype="float64")], DTypeError, "float32 and float64"),
        (["one", "two"], DTypeError, "AsList"),
        (list(numpy.array(["one", "two"])), DTypeError, "AsList"),
        ([(1, 2), (1,)], ShapeError, "sample 1 .* 2 parts"),
        ([(1, 2), 3], ShapeError, "sample 1"),
        ([{"a": 1}, {"b": 1}], ShapeError, "sample 1 .* other keys"),
        ([{"a": 1}, 2], ShapeError, "none, as it is a int"),
        ([object()], DTypeError, "not numbers"),
        ([], UsageError, "no samples"),
    ],
)
def test_samples_that_make_no_batch(samples: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        batchify.default_batchify_fn(samples)


def test_padding_of_several_axes() -> None:
    batch = batchify.Pad(val=7)([np.zeros((1, 3)), np.ones((2, 1))])
    assert batch.tolist() == [[[0, 0, 0], [7, 7, 7]], [[1, 7, 7], [1, 7, 7]]]
    rounded, lengths = batchify.Pad(round_to=4, ret_length=True, dtype="float32")([[1, 2, 3, 4, 5], [1]])
    assert rounded.shape == (2, 8)
    assert rounded.dtype == numpy.float32
    assert lengths.tolist() == [5, 1]
    assert batchify.Pad()([[], []]).shape == (2, 0)
    assert batchify.Pad()([1, 2]).tolist() == [1, 2]


def test_padding_refuses_other_axes_and_dtypes() -> None:
    with pytest.raises(ShapeError, match="number of axes"):
        batchify.Pad()([np.zeros(2), np.zeros((2, 2))])
    with pytest.raises(DTypeError, match=r"Pad\(dtype"):
        batchify.Pad()([[1, 2], [1.5]])
    for pad in (batchify.Pad(0.5, "int32"), batchify.Pad(dtype="int64")):
        with pytest.raises(DTypeError, match=r"has no place for (padding of 0.5|samples of float32)"):
            pad([[1.5] if pad._val == 0 else [1]])
    assert batchify.Pad(dtype="float32")([[1, 2], [1.5]]).tolist() == [[1, 2], [1.5, 0]]


def test_group_and_list() -> None:
    group = batchify.Group(batchify.Pad(), batchify.Stack(), batchify.AsList())
    padded, stacked, text = group([([1, 2], 0, "a"), ([3], 1, "b")])
    assert padded.tolist() == [[1, 2], [3, 0]]
    assert stacked.tolist() == [0, 1]
    assert text == ["a", "b"]
    assert len(batchify.Group([batchify.Stack()] * 2)([(1, 2)])) == 2
    with pytest.raises(ShapeError):
        group([([1, 2], 0)])
    with pytest.raises(UsageError):
        batchify.Group([])


# -- the loader ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last_batch", ["keep", "discard", "rollover", None])
def test_a_batch_larger_than_the_dataset(last_batch: str | None) -> None:
    batches = data.DataLoader(np.arange(3), 5, last_batch=last_batch)
    wanted = {"discard": [], "rollover": []}.get(str(last_batch), [[0, 1, 2]])
    assert len(batches) == len(wanted)
    assert listed(batches) == wanted
    if last_batch == "rollover":
        assert listed(batches) == [[0, 1, 2, 0, 1]]


def test_an_empty_dataset_has_no_batches() -> None:
    for empty in (np.zeros((0, 3)), [], data.SimpleDataset([]), data.SimpleDataset([]).transform(abs)):
        for shuffle in (False, True):
            assert list(data.DataLoader(empty, 4, shuffle=shuffle)) == []


def test_every_kind_of_dataset_gives_the_same_batches() -> None:
    X = numpy.arange(14, dtype="float32").reshape(7, 2)
    y = list(range(7))
    of_arrays = data.ArrayDataset(X, y)

    class Own(data.ArrayDataset):
        def __getitem__(self, index: Any) -> Any:
            return super().__getitem__(index)

    class Plain:
        def __len__(self) -> int:
            return 7

        def __getitem__(self, index: int) -> Any:
            return X[index], index

    kinds = [
        of_arrays,
        data.ArrayDataset(np.array(X), numpy.arange(7)),
        data.ArrayDataset(data.SimpleDataset(X), tuple(y)),
        of_arrays.take(99),
        of_arrays.transform(lambda x, label: (x, label)),
        Own(X, y),
        Plain(),
    ]
    for kind in kinds:
        np.random.seed(1)
        batches = list(data.DataLoader(kind, 3, sampler=[6, -1, 2, 2, 0]))
        assert [type(batch) for batch in batches] == [list, list]
        assert [part.tolist() for part in batches[0]] == [
            [[12, 13], [12, 13], [4, 5]],
            [6, batches[0][1][1].item(), 2],
        ]
        assert [part.dtype for part in batches[1]] == [numpy.float32, numpy.int64]


def test_own_samples_of_a_subclass_are_kept() -> None:
    class Doubled(data.SimpleDataset):
        def __getitem__(self, index: Any) -> Any:
            return 2 * super().__getitem__(index)

    doubled = Doubled(np.arange(3))
    assert listed(data.DataLoader(doubled, 3)) == [[0, 2, 4]]
    assert (
        listed(data.DataLoader(data.ArrayDataset(doubled, doubled).take(2), 2).__iter__().__next__())
        == [[0, 2]] * 2
    )


def test_batches_do_not_share_memory_with_the_dataset() -> None:
    X = np.arange(4)
    for batch in data.DataLoader(X, 2):
        batch[:] = -1
    assert X.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [np.array, numpy.array])
@pytest.mark.parametrize("options", [{}, {"num_workers": 1, "thread_pool": True}], ids=str)
def test_a_transform_that_writes_leaves_the_dataset(kind: Any, options: dict[str, Any]) -> None:
    X, y = kind(numpy.zeros((4, 2))), kind(numpy.zeros(4))

    def write(x: Any, label: Any) -> Any:
        x += 1
        label += 1
        return x, label

    dataset = data.ArrayDataset(X, y).transform(write)
    for _ in range(2):
        for batch, labels in data.DataLoader(dataset, 2, sampler=[0, numpy.int64(1), -1, 2], **options):
            assert batch.tolist() == [[1, 1]] * 2
            assert labels.tolist() == [1, 1]
    assert X.sum() == y.sum() == 0


def test_the_loader_shuffles_anew_and_the_seed_repeats_it() -> None:
    batches = data.DataLoader(np.arange(10), 4, shuffle=True)
    np.random.seed(7)
    first, second = listed(batches), listed(batches)
    np.random.seed(7)
    assert listed(batches) == first != second
    assert sorted(index for batch in first for index in batch) == list(range(10))


def test_a_batch_sampler_of_any_lists() -> None:
    batches = data.DataLoader(
        np.arange(5), batch_sampler=[[0], numpy.array([1, -1]), np.array([2, 3]).astype("int32")]
    )
    assert listed(batches) == [[0], [1, 4], [2, 3]]
    assert len(batches) == 3
    with pytest.raises(TypeError):
        list(data.DataLoader(np.arange(5), batch_sampler=[[0.5]]))
    with pytest.raises(IndexError):
        list(data.DataLoader(np.arange(5), batch_sampler=[[5]]))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"batch_size": 0},
        {"batch_size": 2, "shuffle": True, "sampler": [0]},
        {"batch_size": 2, "batch_sampler": [[0]]},
        {"shuffle": True, "batch_sampler": [[0]]},
        {"last_batch": "keep", "batch_sampler": [[0]]},
        {"batch_size": 2, "num_workers": -1},
        {"batch_size": 2, "timeout": 0},
    ],
    ids=str,
)
def test_arguments_that_contradict_each_other(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        data.DataLoader(np.arange(3), **arguments)


def test_an_error_names_its_sample() -> None:
    loader = data.DataLoader(data.SimpleDataset([1, 0, 2]).transform(lambda x: 1 // x), 3)
    with pytest.raises(ZeroDivisionError) as caught:
        list(loader)
    assert caught.value.__notes__ == ["raised by sample 1 of a TransformedDataset"]


def test_a_hybridized_function_over_a_loader_sees_each_batch() -> None:
    batches = data.DataLoader(np.arange(6), 2, shuffle=True)

    def total() -> Any:
        result = np.array(0.0)
        for batch in batches:
            result = result * 2 + batch[0]
        return result

    hybridized = blockfuse.hybridize(total)
    for seed in (0, 1, 2, 1):
        np.random.seed(seed)
        wanted = total().item()
        np.random.seed(seed)
        assert hybridized().item() == wanted
