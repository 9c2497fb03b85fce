"""Where torch keeps what native code reads of a tensor: looked for in tensors made for it, and proven by others.

Torch's own names: ``THPVariable`` is Python's object, ``TensorImpl`` the tensor, ``DispatchKeySet`` its kind,
``StorageImpl`` its memory, ``AutogradMeta`` what is noted of gradients (torch 2.13; ``c10/core``, ``torch/csrc/autograd``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy
import torch

from blockfuse.ir.tensor_layout import MAX_AXES, TensorLayout, TensorPlace

# that our arrays have, too
DTYPES = (
    *(torch.float32, torch.float64, torch.int64, torch.int32, torch.bool),
    *(torch.uint8, torch.int8, torch.int16, torch.float16),
)
# where to look, in bytes
_IN_OBJECT, _IN_TENSOR, _IN_STORAGE, _IN_META = range(16, 40, 8), range(8, 240, 8), range(8, 96, 8), 240
_NODE = 16  # where Python's object of what a tensor was computed by points to torch's


def fields_of(tensor: torch.Tensor) -> tuple[TensorLayout, TensorPlace] | None:
    """Where a tensor lies, by its own fields; None for one that is not plain, or has too many axes."""
    if LAYOUT is None:
        return None
    inner = _word(id(tensor) + LAYOUT.inner)
    if _word(inner + LAYOUT.kind) != LAYOUT.plain or _word(inner + LAYOUT.axes) > MAX_AXES:
        return None
    return LAYOUT, place(LAYOUT, tensor)


def dtype_number(known: TensorLayout, dtype: torch.dtype) -> int:
    """What stands in a tensor for its dtype."""
    return _half(torch.ones(1, dtype=dtype)._cdata + known.dtype)


def place(known: TensorLayout, tensor: torch.Tensor) -> TensorPlace:
    """Where a tensor of up to ``MAX_AXES`` axes lies, by its fields."""
    inner = _word(id(tensor) + known.inner)
    axes, meta = _word(inner + known.axes), _word(inner + known.meta)
    follows = bool(meta) and (_byte(meta + known.gradient) != 0 or _word(meta + known.history) != 0)
    sizes, strides = (
        [_word(inner + first + 8 * axis) for axis in range(axes)] for first in (known.sizes, known.strides)
    )
    data = _word(_word(inner + known.storage) + known.data)
    return TensorPlace(data, _word(inner + known.before), _half(inner + known.dtype), sizes, strides, follows)


def kind_of(tensor: torch.Tensor) -> int:
    """Its kind, as torch tells it."""
    return int(torch._C._dispatch_keys(tensor).raw_repr())


# -- looking -------------------------------------------------------------------------------------------------------


def _found() -> TensorLayout:
    """Raises LookupError where a field is at no place or at several."""
    usual, parameters = _usual(), [torch.nn.Parameter(torch.ones(n)) for n in (2, 3, 4)]
    inner = _only(_IN_OBJECT, [(id(t), t._cdata) for t in usual])

    def in_tensor(of: Callable[[torch.Tensor], int], tensors: Iterable[torch.Tensor] = usual) -> int:
        return _only(_IN_TENSOR, [(t._cdata, of(t)) for t in tensors])

    meta = _chosen(
        _IN_TENSOR,
        lambda at: (
            all(not _word(t._cdata + at) for t in _fresh())
            and len({_word(p._cdata + at) for p in parameters} - {0}) == len(parameters)
        ),
    )
    return TensorLayout(
        inner=inner,
        kind=in_tensor(kind_of, [*usual, *_odd()]),
        axes=in_tensor(torch.Tensor.dim),
        sizes=_first_of(_IN_TENSOR, usual, torch.Tensor.size),
        strides=_first_of(_IN_TENSOR, usual, torch.Tensor.stride),
        before=in_tensor(torch.Tensor.storage_offset),
        dtype=_chosen(range(8, 240, 2), _tells_dtypes),
        storage=in_tensor(lambda t: t.untyped_storage()._cdata),
        data=_only(
            _IN_STORAGE, [(t.untyped_storage()._cdata, t.untyped_storage().data_ptr()) for t in usual]
        ),
        meta=meta,
        gradient=_chosen(range(8, _IN_META), lambda at: _tells_gradients(meta, at)),
        history=_only(range(8, _IN_META, 8), [*_nodes(meta), *((_meta(p, meta), 0) for p in parameters)]),
        plain=kind_of(torch.empty(2)),
    )


def _usual() -> list[torch.Tensor]:
    """No two fields of all of these are alike."""
    own = torch.from_numpy(numpy.ones(300, numpy.float32))
    return [
        torch.ones(2, 3)[:, 1:],
        own.as_strided((2, 3, 4, 5, 6), (7, 11, 13, 17, 19), 23),
        own.as_strided((9, 8), (1, 3), 5),
        own[31:],
        torch.ones(4, 2, 3),
    ]


def _fresh() -> list[torch.Tensor]:
    return [torch.ones(2), torch.ones(2, 3), torch.zeros(5)]


def _odd() -> list[torch.Tensor]:
    """Tensors that are not plain."""
    x = torch.ones(2, 3)
    turned = torch.complex(x, x).conj()
    return [turned, turned.imag, x.to("meta"), x.to_sparse()]


def _first_of(places: range, tensors: Sequence[torch.Tensor], of: Callable[..., int]) -> int:
    """Where the first of one word for each axis stands, the others behind it."""
    found = [(t._cdata + 8 * axis, of(t, axis)) for t in tensors for axis in range(t.dim())]
    return _only(places, found)


def _tells_dtypes(at: int) -> bool:
    """Another number for each dtype, the same for each tensor of it."""
    pairs = [
        [_half(torch.zeros(n, dtype=d)[n - 1 :]._cdata + at) for n in (1, 4)] for d in (*DTYPES, *DTYPES)
    ]
    return all(a == b for a, b in pairs) and len({a for a, _ in pairs}) == len(DTYPES)


def _tells_gradients(meta: int, at: int) -> bool:
    tensors = [torch.nn.Parameter(torch.ones(n)) for n in (2, 3)]
    told = [[_byte(_meta(t.requires_grad_(on), meta) + at) for t in tensors] for on in (True, False, True)]
    return told == [[1, 1], [0, 0], [1, 1]]


def _nodes(meta: int) -> list[tuple[int, int]]:
    """For tensors that were computed, what is noted of gradients, and by what they were."""
    given = torch.nn.Parameter(torch.ones(2))
    computed = [given * 2, given.sum(), given + 1]
    _kept.extend(computed)
    return [(_meta(t, meta), _word(id(t.grad_fn) + _NODE)) for t in computed]


_kept: list[Any] = []  # keeps what words point to, while they are compared


def _meta(tensor: torch.Tensor, at: int) -> int:
    return _word(tensor._cdata + at)


def _only(places: range, found: Sequence[tuple[int, int]]) -> int:
    """The one offset behind all addresses at which these words stand."""
    return _chosen(places, lambda at: all(_word(address + at) == word for address, word in found))


def _chosen(places: range, holds: Callable[[int], bool]) -> int:
    chosen = [at for at in places if holds(at)]
    if len(chosen) != 1:
        raise LookupError(chosen)
    return chosen[0]


# -- proving -------------------------------------------------------------------------------------------------------


def _is_as_told(known: TensorLayout, tensor: torch.Tensor) -> bool:
    """Whether the fields say what torch says."""
    if (kind_of(tensor) == known.plain) != _is_plain(tensor):
        return False
    if not _is_plain(tensor) or tensor.dim() > MAX_AXES:
        return True
    told, size = place(known, tensor), tensor.element_size()
    return (
        told.data + told.before * size == tensor.data_ptr()
        and tuple(told.sizes) == tuple(tensor.shape)
        and tuple(told.strides) == tensor.stride()
        and told.dtype == dtype_number(known, tensor.dtype)
        and told.wants_gradient == tensor.requires_grad
    )


def _is_plain(tensor: torch.Tensor) -> bool:
    plain = tensor.device.type == "cpu" and tensor.layout is torch.strided
    return plain and not tensor.is_conj() and not tensor.is_neg()


_OTHER = torch.arange(48, dtype=torch.float32)
_STEPS: tuple[Callable[[Any], Any], ...] = (  # ways of making a tensor another one
    lambda t: setattr(t, "data", _OTHER[24:].view(4, 6)),
    lambda t: setattr(t, "data", _OTHER[:24].view(6, 4).t()),
    lambda t: setattr(t, "data", torch.complex(_OTHER, _OTHER).conj().imag[:24].view(4, 6)),
    lambda t: setattr(t, "data", _OTHER.double()),
    lambda t: t.requires_grad_(False),
    lambda t: t.unsqueeze_(0),
    lambda t: t.resize_(9, 9).t_(),
    lambda t: t.untyped_storage().resize_(1 << 16),
    lambda t: t.requires_grad_(True),
    lambda t: t.set_(_OTHER.double()),
    lambda t: t.share_memory_(),
)


def _changed() -> Iterable[torch.Tensor]:
    """Tensors of all kinds, and one after each way of making it another one."""
    yield from (*_usual(), *_odd(), *_fresh(), *(torch.ones(2, dtype=d) for d in DTYPES))
    tensor = torch.nn.Parameter(torch.ones(4, 6))
    for step in _STEPS:
        with torch.no_grad():
            step(tensor)
        yield tensor
    yield torch.ones(4).mul_(torch.nn.Parameter(torch.ones(4)))


def _proven() -> TensorLayout | None:
    """What was found, if it says of all tensors what torch says of them."""
    with torch._C.DisableTorchFunction(), torch.inference_mode(False), torch.enable_grad():
        try:
            found = _found()
            return found if all(_is_as_told(found, tensor) for tensor in _changed()) else None
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):  # another torch
            return None


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _half(address: int) -> int:
    return ctypes.c_uint16.from_address(address).value


def _byte(address: int) -> int:
    return ctypes.c_uint8.from_address(address).value


LAYOUT = _proven()  # of this process; None where Python must ask torch
