"""The trainer: a net's parameters, the optimizer that changes them, and what it remembers of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.ir import interpreter
from blockfuse.ir.errors import ParameterFileError, StaleGradientError, UsageError
from blockfuse.nn import parameter_files
from blockfuse.nn.kvstore import KVStore
from blockfuse.nn.kvstore import create as create_store
from blockfuse.nn.optimizers.optimizer import Optimizer, create
from blockfuse.nn.optimizers.updater import Updater
from blockfuse.nn.parameter import Parameter
from blockfuse.runtime.calls.function import HybridFunction, hybridize

# NOTE [files of states]
# One .npz file: "optimizer" (the name), "learning_rate", and for each parameter that was updated, by its index in the
# trainer and its name, "3/hidden.weight/count" and "3/hidden.weight/0", "3/hidden.weight/1" and so on, its states. With the
# parameters of the net (``net.save_parameters``) that is all a training needs to go on, bit for bit: schedules are formulas
# of the count, and what else an optimizer is made of is in the program that makes it.


@dataclass(frozen=True)
class _States:
    """What an optimizer remembered when a file was written, in the words of NOTE [files of states]."""

    learning_rate: numpy.ndarray
    entries: dict[int, dict[str, numpy.ndarray]]  # of each parameter that was updated, by its index


class Trainer:
    """Changes parameters by their gradients. Gluon's Trainer.

    params: what ``net.collect_params()`` gives, or a list of parameters; a shared one counts once, and those whose
    ``grad_req`` is ``"null"`` stay as they are.
    optimizer, optimizer_params: the name of an optimizer and its options, or one that is made already.
    kvstore: ``"device"`` or ``"local"``, this process alone; ``"dist_sync"``, all that ``mpiexec`` started (or what
    ``kvstore.create`` gave): they begin with the parameters of the first, sum their gradients in each step, and stay
    bit-equal. ``batch_size`` is then that of all together.
    compression_params: only None: nothing compresses gradients.
    update_on_kvstore: taken for Gluon's sake; each worker updates.

    Raises UsageError for a name of no optimizer or kvstore and for compression, TypeError for options that the optimizer
    does not have.

    >>> from blockfuse import autograd, gluon, nn, np
    >>> net = nn.Dense(1, in_units=2)
    >>> net.initialize()
    >>> trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    >>> with autograd.record():
    ...     loss = (net(np.ones((4, 2))) - 1) ** 2
    >>> loss.backward()
    >>> trainer.step(batch_size=4)
    >>> trainer.learning_rate
    0.1
    """

    def __init__(
        self,
        params: Mapping[str, Parameter] | Iterable[Parameter],
        optimizer: str | Optimizer,
        optimizer_params: Mapping[str, Any] | None = None,
        kvstore: str | KVStore | None = "device",
        compression_params: Any = None,
        update_on_kvstore: bool | None = None,  # noqa: ARG002
    ) -> None:
        if compression_params is not None:
            raise UsageError("compression_params: gradients are sent nowhere, so nothing compresses them")
        self._params = _distinct(params)
        self._optimizer = create(optimizer, **(optimizer_params or {}))
        _claim(self._optimizer, self._params)
        self._updater = Updater(self._optimizer)
        self._scale = self._optimizer.rescale_grad
        self._compiled: HybridFunction | None = None  # updates all parameters that are trained
        self._store = create_store(kvstore or "local") if not isinstance(kvstore, KVStore) else kvstore
        self._has_same_start = False
        self._take_first_values()

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer, whose options may be changed."""
        return self._optimizer

    @property
    def learning_rate(self) -> float:
        """The learning rate, which a schedule may set."""
        return self._optimizer.learning_rate

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate to the number ``lr``. Raises UsageError where a schedule sets it."""
        self._optimizer.set_learning_rate(lr)

    # -- steps -----------------------------------------------------------------------------------------------

    def step(self, batch_size: Any, ignore_stale_grad: bool = False) -> None:
        """Change all parameters by their gradients, which are divided by ``batch_size``, a number above 0, first.

        ignore_stale_grad: leave parameters alone that have no new gradient since the last step.

        Raises StaleGradientError, having changed nothing, if there are some and they are not to be ignored.
        """
        if self._store.num_workers > 1:
            fresh = self._fresh_everywhere()
            self._to_update(ignore_stale_grad)  # what raises, at all workers, has not added up gradients
            self._add_up(fresh)
        self.update(batch_size, ignore_stale_grad)

    def of_all_workers(self, count: int) -> int:
        """The sum of every worker's ``count``: the size of a batch of which each has a part."""
        if self._store.num_workers == 1:
            return count
        return int(self._store.summed([numpy.array([count])], "sizes of batches")[0][0])

    def allreduce_grads(self) -> None:
        """Add up the gradients of all workers of ``kvstore``, those that are new; nothing for one process.

        Raises UsageError, at all workers, where these are not the same of all, or parameters were not the same at the start.
        """
        if self._store.num_workers > 1:
            self._add_up(self._fresh_everywhere())

    def _fresh_everywhere(self) -> list[Parameter]:
        """The parameters with new gradients, which all workers have for the same."""
        fresh = {n: p for n, p in self._trained() if p._data is not None and p._has_fresh_grad()}
        self._store.require_same(repr(list(fresh)), "the parameters with new gradients, by their index,")
        self._require_same_start()
        return list(fresh.values())

    def _add_up(self, fresh: list[Parameter]) -> None:
        grads = [parameter.grad() for parameter in fresh]
        summed = self._store.summed([grad.asnumpy() for grad in grads], "gradients")
        for grad, total in zip(grads, summed, strict=True):
            grad[...] = total

    def _take_first_values(self) -> None:
        """Begin with the parameters of the first worker, as far as they have values already."""
        if self._store.num_workers == 1:
            return
        begun = [p for p in self._params if p._data is not None]
        self._store.require_same(repr([p.label for p in begun]), "the parameters that are initialized")
        values = self._store.first([p.data().asnumpy() for p in begun], "parameters")
        for parameter, value in zip(begun, values, strict=True):
            parameter.set_data(value)

    def _require_same_start(self) -> None:
        """Parameters that got their values after this was made are the same everywhere, or it is an error."""
        if not self._has_same_start:
            values = [p.data().asnumpy() for p in self._params if p._data is not None]
            digests = [hashlib.sha256(v.tobytes()).hexdigest()[:8] for v in values]
            self._store.require_same(
                " ".join(digests),
                "the parameters before the first step (call the net once before its trainer is made)",
            )
            self._has_same_start = True

    def update(self, batch_size: Any, ignore_stale_grad: bool = False) -> None:
        """``step`` without ``allreduce_grads``: between the two, gradients may be changed.

        batch_size, ignore_stale_grad, and errors: as of ``step``.
        """
        chosen = self._to_update(ignore_stale_grad)
        if not chosen:
            return
        self._apply(chosen, self._scale / batch_size)
        for parameter in chosen.values():
            parameter._use_grad()

    def _apply(self, chosen: dict[int, Parameter], factor: Any) -> None:
        """Compiled where a block around them is, if nobody records and all parameters are updated together."""
        trained = len(dict(self._trained()))
        recording = interpreter.current().recording
        options = next(filter(None, map(_compiled_with, chosen.values())), None)
        if options is None or recording or len(chosen) < trained:
            self._update(chosen, factor)
            return
        if self._compiled is None:
            self._prepare()
            self._compiled = hybridize(_Update(self), **options)
        self._compiled(np.array(factor, dtype="float64"))

    def _update(self, chosen: dict[int, Parameter], factor: Any) -> None:
        """Change parameters by their gradients, which are multiplied by ``factor`` first."""
        weights = [parameter.data() for parameter in chosen.values()]
        grads = [parameter.grad() for parameter in chosen.values()]
        self._optimizer.rescale_grad = factor
        self._updater(list(chosen), grads, weights)

    def _prepare(self, indices: Iterable[int] | None = None) -> None:
        """Make the states of all parameters (or of some) that have a value, so that the first step changes arrays alone."""
        chosen = range(len(self._params)) if indices is None else frozenset(indices)
        ready = {n: p for n, p in self._trained() if n in chosen and p._data is not None}
        self._updater.prepare(list(ready), [parameter.data() for parameter in ready.values()])

    def __made_so_far__(self) -> int:
        """States, which the first step of a parameter makes."""
        return len(self._updater.states)

    def _trained(self) -> Iterator[tuple[int, Parameter]]:
        return ((n, p) for n, p in enumerate(self._params) if p.grad_req != "null")

    def _to_update(self, ignore_stale_grad: bool) -> dict[int, Any]:
        """The parameters to change, by their index."""
        trained = dict(self._trained())
        fresh = {n: p for n, p in trained.items() if p._data is not None and p._has_fresh_grad()}
        if len(fresh) < len(trained) and not ignore_stale_grad:
            stale = [p for n, p in trained.items() if n not in fresh]
            for parameter in stale:
                parameter.data()  # one without a value says so itself
            raise StaleGradientError(_stale_message([p.label for p in stale]))
        return fresh

    # -- states in files -------------------------------------------------------------------------------------

    def save_states(self, fname: str | PathLike[str]) -> None:
        """Write what the optimizer remembers to the file ``fname``, an ``.npz``, at once or not at all; see NOTE [files of
        states].

        With ``save_parameters`` that is all a training needs to go on bit for bit; ``save_checkpoint`` writes both as one
        file.
        """
        parameter_files.write(fname, self._state_arrays())

    def _state_arrays(self) -> dict[str, numpy.ndarray]:
        """What the optimizer remembers, by names of NOTE [files of states]."""
        optimizer = self._optimizer
        arrays = {
            "optimizer": numpy.array(type(optimizer).__name__),
            "learning_rate": optimizer._lr._leave("save_states()"),
        }
        for index, states in self._updater.states.items():
            arrays[self._entry(index, "count")] = optimizer.counts[index]._leave("save_states()")
            for number, state in enumerate(states):
                arrays[self._entry(index, str(number))] = state._leave("save_states()")
        return arrays

    def _entry(self, index: int, what: str) -> str:
        return f"{index}/{self._params[index].label}/{what}"

    def load_states(self, fname: str | PathLike[str]) -> None:
        """Read what ``save_states`` wrote to the file ``fname``, into the memory of the states that are there.

        A parameter that is not in the file has not been updated: its states start anew.

        Raises ParameterFileError, having changed nothing, if the file is of another optimizer or other parameters.
        """
        interpreter.current().impure("reads a file")
        self._restore(self._states_in(fname, parameter_files.read(fname)))

    def _restore(self, remembered: _States) -> None:
        """Go on from what ``_states_in`` found."""
        found = remembered.entries
        self._optimizer._lr[...] = remembered.learning_rate
        self._optimizer.counts.restore({index: int(entries["count"]) for index, entries in found.items()})
        held = self._updater.states
        for index in held.keys() - found.keys():
            del held[index]
        for index, entries in found.items():
            states = [entries[str(number)] for number in range(len(entries) - 1)]
            if index in held:
                for state, value in zip(held[index], states, strict=True):
                    state[...] = value
            else:
                held[index] = tuple(ndarray(state.copy()) for state in states)  # the file's are views
        self._prepare(found)  # the next step changes arrays alone, as it would have without a file

    def _states_in(self, fname: str | PathLike[str], arrays: dict[str, numpy.ndarray]) -> _States:
        """What the arrays of a file say; raises ParameterFileError where they do not fit."""
        kind = type(self._optimizer).__name__
        if str(arrays.get("optimizer", "")) != kind or "learning_rate" not in arrays:
            raise ParameterFileError(
                f"{fspath(fname)} holds states of {arrays.get('optimizer', 'no optimizer')}, not of {kind}; "
                f"nothing was loaded"
            )
        known = {self._entry(index, ""): index for index in range(len(self._params))}
        found: dict[int, dict[str, numpy.ndarray]] = {}
        faults = []
        for name in arrays.keys() - {"optimizer", "learning_rate"}:
            owner, slash, what = name.rpartition("/")
            index = known.get(owner + slash)
            if index is None:
                faults.append(f"  {name} is of no parameter of the trainer")
            else:
                found.setdefault(index, {})[what] = arrays[name]
        faults += [fault for index, entries in found.items() for fault in self._misfits(index, entries)]
        parameter_files.refuse(fspath(fname), sorted(faults), missing=False)
        return _States(arrays["learning_rate"], found)

    def _misfits(self, index: int, entries: dict[str, numpy.ndarray]) -> list[str]:
        """What keeps entries from being a parameter's states."""
        wanted = self._wanted(index)
        shapes = {what: (array.shape, array.dtype) for what, array in entries.items() if what != "count"}
        complete = "count" in entries and shapes.keys() == {str(number) for number in range(len(shapes))}
        if complete and wanted in (None, shapes):
            return []
        return [f"  {self._entry(index, '')} has states of {shapes}; the trainer needs {wanted}"]

    def _wanted(self, index: int) -> dict[str, Any] | None:
        """Shapes and dtypes of a parameter's states; None while it has no value."""
        parameter = self._params[index]
        if parameter._data is None:
            return None
        states = self._updater.states.get(index) or self._optimizer.create_state(index, parameter.data())
        return {str(number): (state.shape, state.dtype) for number, state in enumerate(states)}


class _Update:
    """One update of all parameters that are trained, as a call of its own that can be compiled."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __call__(self, factor: ndarray) -> None:
        trained = {n: p for n, p in enumerate(self.trainer._params) if p.grad_req != "null"}
        self.trainer._update(trained, factor)


_OPTIONS = {"backend": "cpu", "threads": None, "check": True}  # which an update has in common with its net


def _compiled_with(parameter: Parameter) -> dict[str, Any] | None:
    """Options for the update of a parameter, where the block that holds it, or one around that, is compiled."""
    held = parameter._held_by
    while held is not None:
        block = held[0]()
        if block is None:
            return None
        given = block._hybrid_options
        if given is not None:
            return {**_OPTIONS, **{name: given[name] for name in ("threads", "check") if name in given}}
        held = block._held_by
    return None


def _distinct(params: Any) -> list[Parameter]:
    """Each parameter once, those with names in the order of these."""
    listed = [params[name] for name in sorted(params)] if isinstance(params, Mapping) else list(params)
    for parameter in listed:
        if not isinstance(parameter, Parameter):
            raise UsageError(
                f"a trainer takes parameters, as net.collect_params() gives them; found {type(parameter).__name__}"
            )
    return list({id(parameter): parameter for parameter in listed}.values())


def _claim(optimizer: Optimizer, params: list[Parameter]) -> None:
    """Give an optimizer its parameters, by their index. It counts their updates, so that it can have no others."""
    before = list(optimizer.param_dict.values())
    if before and [id(parameter) for parameter in before] != [id(parameter) for parameter in params]:
        raise UsageError(f"{optimizer!r} belongs to another trainer: make one for each")
    optimizer.param_dict = dict(enumerate(params))


def _stale_message(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (
        f"no new gradient since the last step: {shown}. Either backward() was not called, or the loss does not depend on "
        f"them; where that is meant, step(..., ignore_stale_grad=True) leaves them alone"
    )
