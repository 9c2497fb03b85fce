"""The recording interpreter: computes as eager does and writes a graph beside it.

Once something happens that a graph cannot repeat, ``problem`` says what and where; recording stops, computing
goes on.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import get_ident
from typing import Any

import numpy

from blockfuse.array.eager import Eager, data_of
from blockfuse.array.functions.assigning import as_written, written_at
from blockfuse.array.functions.indexing import basic_index, is_basic
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.array.tape import is_taping
from blockfuse.ir import interpreter
from blockfuse.ir.builder import operands_as_nodes
from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Node, Source, argument, constant, leaf, literal, ordered
from blockfuse.ir.interpreter import Retracing
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import movement, pointwise
from blockfuse.ir.signal_handlers import is_running, signal_handlers
from blockfuse.ir.types import TensorType, type_of
from blockfuse.tracer.certificate.ownership import user_source
from blockfuse.tracer.certificate.traced_numbers import (
    Escaped,
    Operand,
    indices_of,
    is_traced,
    plain,
    text_of,
)
from blockfuse.tracer.certificate.witness import unwatched
from blockfuse.tracer.flow.path import Decision, Event, Use, Write
from blockfuse.tracer.frames.induction import InductionTracker
from blockfuse.tracer.frames.program_points import Point
from blockfuse.tracer.frames.stack_keys import StackKeys
from blockfuse.tracer.recording.forgetting import Rounds
from blockfuse.tracer.recording.literals import Literals
from blockfuse.tracer.recording.memory import Memory
from blockfuse.tracer.recording.retracing import Crossings
from blockfuse.tracer.state.assignments import Assignments
from blockfuse.tracer.state.facts import Setting
from blockfuse.tracer.state.stored import MISSING, own_dict

TAKING = ("float()", "item()")  # the escapes that give a number which may be followed
DECISION = "bool()"  # the escape that says which way a path goes
_MAX_DECISIONS = 2048  # on one path; more are not worth a program
_MAX_EVENTS = 16384  # on one path, with those about induction variables
# in all rounds, with those that are forgotten: about a minute
_MAX_POINTS = 1 << 17
_MAX_OPERATORS = 1 << 19
_OPEN_EVENTS = 64  # before it is known whether loops over numbers can be closed
_MAX_NODES = 1 << 18  # of one path: some minutes, and 0.8 GB, until there is a program


class Recorder(Eager):
    """Records one call.

    NOTE [gradients and joins]
    How many rounds a loop went, and which branch was taken, decides what ``backward`` will do, and no variable of Python
    says so. But ``backward`` asks for it when it comes there (NOTE [going back] in ``retracing.py``), so ways may join
    also while gradients are followed, where arrays stand alike to what is recorded.
    """

    recording = True
    outlived = False

    def __init__(self, arguments: list[ndarray]) -> None:
        self.problem = ""
        self.failure: Exception | None = None  # of ours; the call itself went on
        self.interrupted = False  # by a handler of signals, which is no part of the call
        self._handlers = signal_handlers()
        self._writing = _Writing(self)
        self.follows = False  # gradients
        self._updating = 0  # the thread that is writing to an array that was there before
        self.pulled: list[ndarray] | None = (
            None  # gradients that were recorded behind the call, where they are wanted
        )
        self.untaped: set[Node] = set()  # what was computed where nothing was noted for gradients
        self.raised = False  # an operator raised for the values that it met, and Python went another way
        self.given = arguments
        self.visited: list[Any] = []
        self.questions: list[Setting] = []  # about state that no attribute shows
        self.settled: dict[
            int, Any
        ] = {}  # id of what holds such state -> itself, where the call set it, or has asked
        self.arguments = [
            leaf(argument, f"x{n}" if n else "x", type_of(a._data)) for n, a in enumerate(arguments)
        ]
        self.memory = Memory(dict(zip(self.arguments, arguments, strict=True)), self._stop)
        self.assignments = Assignments(self._stop)
        self.sequence: list[Node] = []  # every node, in the order of the calls
        self.events: list[Event] = []
        self.decisions = 0  # about arrays
        self.induction = InductionTracker(self)
        self.induction_nodes: set[Node] = set()  # what induction variables are computed by
        self.outermost: types.FrameType | None = None  # frames from here out are not the call's
        self.numbers: dict[Operand, Node] = {}  # what traced numbers became -> its leaf
        self.constants: dict[Node, Node] = {}  # leaf of a traced number -> the constant that it stands for
        self.draws: list[Node] = []  # random nodes, in the order in which they drew
        # values that left and do not depend on the inputs
        self.escaped: list[tuple[Node, Source | None]] = []
        self._fixed: set[Node] = set()  # values that depend on constants only
        self._literals = Literals()
        self._stack = StackKeys(self.memory, self.induction)
        self._crossings = Crossings(self.memory, self.events)
        self._closes = False  # loops over numbers alone, for which every round has a decision
        self._unclosed = False  # that was of no use
        self.rounds = Rounds(self.sequence, self.events, self.memory, self.induction)

    # -- what the program does -------------------------------------------------------------------------------

    def apply(self, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        with unwatched():  # NumPy may warn, and Python then runs code of its own
            try:
                result = super().apply(operator, _plain(operands), attrs)
            except Exception as error:
                if operator.lowering.may_raise:
                    self.raised = True
                    self._stop(
                        f"catches what {operator.name} raises for some values ({type(error).__name__})"
                    )
                raise
            if self._is_recording():
                with self._writing:
                    self._record(result, operator, operands, attrs)
        return result

    def unneeded(self, outputs: tuple[Node, ...]) -> list[Node]:
        """Operators that may raise, and that neither a result nor a decision needs: no program would run them."""
        decided = (event.predicate for event in self.events if isinstance(event, Decision))
        needed = {*ordered((*outputs, *decided)), *self._fixed}
        return [n for n in self.sequence if n.operator.lowering.may_raise and n not in needed]

    def is_behind_decisions(self, nodes: list[Node]) -> bool:
        """Whether all were computed when all was decided."""
        decided = (event.position for event in self.events if isinstance(event, Decision))
        return {*nodes}.isdisjoint(self.sequence[: max(decided, default=0)])

    def update(
        self, target: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        if self._is_recording():
            with self._writing:
                before = [self._operand(o) for o in operands]
                self._refuse_shared(target)
        with unwatched(), self._while_updating():
            super().update(target, operator, _plain(operands), attrs)
        if not self.problem:
            with self._writing:
                self._rebind(target, self._node(operator, self._operand_nodes(operator, before), attrs))

    @size_agnostic
    def assign(self, target: ndarray, index: Any, value: Any) -> None:
        items = index if isinstance(index, tuple) else (index,)
        if self._is_recording() and not all(is_basic(i) for i in items):
            self._assign_at_arrays(target, index, value)
            return
        if not self.problem:
            with self._writing:
                before, written = (
                    self.memory.node_of(target),
                    self._operand(data_of(value) if _is_list(value) else value),
                )
                self._refuse_shared(target)
        with unwatched(), self._while_updating():
            super().assign(target, index, plain(value))
        if not self.problem:
            with self._writing:
                new = written if isinstance(written, Node) else self._written_number(written, target.dtype)
                spelled = basic_index(target.shape, items)
                self._rebind(target, self._node(movement.set_item, (before, new), {"index": spelled}))

    @size_agnostic
    def _assign_at_arrays(self, target: ndarray, index: Any, value: Any) -> None:
        """The new value is computed beside, by operators that are recorded."""
        with self._writing:
            self._refuse_shared(target)
            if is_traced(value):
                self._require_float(value, target.dtype)
        made = written_at(target, index, value).write(target, as_written(value, target.dtype))
        with unwatched(), self._while_updating():
            super().assign(target, index, plain(value))
        if not self.problem:
            with self._writing:
                self._rebind(target, self.memory.node_of(made))

    @contextmanager
    def _while_updating(self) -> Iterator[None]:
        try:
            self._updating = get_ident()
            yield
        finally:
            self._updating = 0

    def is_writing(self) -> bool:
        """Whether what changes now is changed by the recorded call."""
        return self._updating == get_ident()

    def escape(self, kind: str, array: ndarray) -> None:
        if self._is_recording():
            # Watched still: who asks for the truth of an array sees its size. One without axes has but one.
            decides = kind == DECISION and (not (array._pending or array._data).shape or array.size == 1)
            with unwatched(), self._writing:
                self._escape(kind, array, decides)

    def _is_recording(self) -> bool:
        """Whether what happens now becomes part of the graph."""
        if self._handlers and not self.problem and is_running(self._handlers, self.outermost):
            self.interrupted = True
            self.problem = "a signal was handled while it was recorded"  # NOTE [handlers of signals]
        return not self.problem

    def _escape(self, kind: str, array: ndarray, decides: bool) -> None:
        node = self.memory.node_of(array)
        if node in self._fixed:
            self.escaped.append((node, user_source()))
            self.use(node, "a constant array")
        elif kind in TAKING and self._takes(array, node):
            return
        elif not decides:
            self._stop(f"uses values in Python ({kind})")
        elif self._may_decide():
            self.decide(node, bool(array._data))

    def _may_decide(self) -> bool:
        """Whether one more decision about arrays may be taken; it is counted."""
        if self.decisions - self.rounds.decisions >= _MAX_DECISIONS:
            self._stop(f"takes more than {_MAX_DECISIONS} decisions in a call that is recorded")
            return False
        self.decisions += 1
        return True

    def _takes(self, array: ndarray, node: Node) -> bool:
        """Whether the number of an array is followed: NOTE [measured numbers]."""
        followed = self._stack.follows or is_taping()
        if followed or array.shape or array.dtype.name not in ("float32", "float64"):
            return False
        return self.induction.take(array, lambda: self._node(pointwise.cast, (node,), {"dtype": "float64"}))

    def decide_measured(self, predicate: Node, outcome: bool, source: Source) -> None:
        """A path goes one way, by a measured number; by one that is the same in every call, if only such were compared."""
        if all(operand.operator is constant for operand in predicate.operands):
            self.decide(predicate, outcome, True, source)
        elif self._may_decide():
            self.decide(predicate, outcome, source=source, compares=True)

    def use_measured(self, node: Node, what: str) -> None:
        """A number that was taken of an array goes elsewhere."""
        if node.operator is constant:
            self.use(node, what)
        else:
            self._stop(f"uses values in Python ({what})")

    def decide(
        self,
        predicate: Node,
        outcome: bool,
        on_induction: bool = False,
        source: Source | None = None,
        closes: bool = False,
        compares: bool = False,
    ) -> None:
        """A path goes one way. on_induction: by an induction variable. closes: of a loop that is too long to write out.
        compares: before the instruction where the innermost frame stands, as for induction variables.
        """
        closes = closes and not (self._unclosed or self.outlived or self._stack.follows or is_taping())
        self._closes |= closes
        if not self.may_join:
            return  # nothing can have closed or joined yet: the number is a constant
        if self._stack.time >= _MAX_POINTS:
            self._stop(f"takes more than {_MAX_POINTS} decisions in a call that is recorded")
            return
        if self.rounds.nodes + len(self.sequence) > _MAX_OPERATORS:
            self._stop(
                f"goes round loops for more than {_MAX_OPERATORS} operators in a call that is recorded"
            )
            return
        if len(self.events) >= _MAX_EVENTS:
            self._stop("counts too many rounds")
            return
        here = self._here(on_induction or compares)
        position, source = len(self.sequence), source or user_source()
        follows = self._stack.follows
        self.events.append(
            Decision(predicate, outcome, on_induction, here, position, source, follows, closes)
        )
        with unwatched():
            if follows:
                self._crossings.add(self._stack.arrays)
            else:
                self._forget(self.rounds.decided(self._stack.arrays))
        if len(self.events) > _OPEN_EVENTS:
            self.close()

    def _forget(self, nodes: list[Node]) -> None:
        for known in (self.untaped, self._fixed, self.induction_nodes):
            known.difference_update(nodes)

    @property
    def may_join(self) -> bool:
        """Whether a loop may have closed, or ways may have joined, so that numbers need be no constants."""
        return bool(self.decisions or self._closes)

    def close(self) -> None:
        """Loops over numbers whose rounds tell each other apart stay as they were recorded."""
        if self._closes and not self.decisions and not self.rounds.forgotten:
            self._closes, self._unclosed = False, True
            self.rounds.drop()

    def _here(self, on_induction: bool = False) -> Point:
        with unwatched():
            here = self._stack.here(self.outermost, on_induction, self.assignments.values())
        self.memory.time = self._stack.time
        return here

    def use(self, node: Node, what: str) -> None:
        """Python used the value of a node that is a constant of this path."""
        if self.may_join:
            self.events.append(Use(node, what, len(self.sequence), user_source()))

    def induction_step(
        self, operator: Operator, operands: tuple[Node, ...], type: TensorType, source: Source
    ) -> Node:
        """An induction variable, changed or compared."""
        node = Node(operator, operands, {}, type, source)
        self.sequence.append(node)
        self.induction_nodes.add(node)
        return node

    def impure(self, what: str) -> None:
        if self._is_recording():
            self._stop(what)

    def add_argument(self, name: str, array: ndarray) -> None:
        """One that is only known when the call is over."""
        node = leaf(argument, name, type_of(array._data))
        self.arguments.append(node)
        self.memory.give(node, array)

    def follow(self) -> None:
        """See NOTE [gradients and joins]."""
        self.follows = True
        self._stack.follows = True

    def retracing(self, obstacle: str) -> Retracing | None:
        """See NOTE [going back]."""
        if not self._is_recording() or not self._crossings.made:
            return None
        with self._writing:
            return self._crossings.walk(obstacle, self._here(), self.sequence)
        return None

    @property
    def obstacle(self) -> str:
        """Why ways back cannot join."""
        return self._crossings.obstacle

    def asks(self, holder: Any, ask: Callable[[], Any], text: str) -> None:
        if id(holder) not in self.settled:
            self.settled[id(holder)] = holder  # once is enough
            self.questions.append(Setting(ask, ask(), text))

    def settles(self, holder: Any) -> None:
        if self._is_recording():
            self.settled[id(holder)] = holder
            self.memory.settle(holder)

    def visit(self, block: Any) -> None:
        self.visited.append(block)

    def assigning(self, holder: Any, name: str) -> AbstractContextManager[Any]:
        return _Assigning(self, holder, name)

    def assigned(self, holder: Any, name: str, before: Any) -> None:
        """See NOTE [assigned attributes]."""
        if self._is_recording():
            with self._writing:
                self.assignments.note(holder, name, before, user_source())

    # -- nodes -----------------------------------------------------------------------------------------------

    def _rebind(self, array: ndarray, node: Node) -> None:
        """The array now holds ``node``, converted to the array's dtype."""
        if node.dtype != array.dtype:
            node = self._node(pointwise.cast, (node,), {"dtype": str(array.dtype)})
        self.memory.write(array, node)

    def _operand_nodes(self, operator: Operator, operands: list[Any]) -> tuple[Node, ...]:
        """Nodes of what ``_operand`` gave: numbers become constants, traced numbers inputs, of their promoted dtype."""
        if operator is pointwise.power and is_traced(operands[1]):
            raise Escaped("an exponent: some of them have a quicker operator", indices_of(operands[1]))
        if all(type(o) is Node for o in operands):
            return tuple(operands)
        known = self._literals.among(operator, operands)
        if known is not None:
            return known
        nodes = operands_as_nodes(operator, _plain(operands))
        nodes = tuple(self._number(o, n) for o, n in zip(operands, nodes, strict=True))
        self._literals.keep(operator, operands, nodes)
        return nodes

    def _number(self, operand: Any, node: Node) -> Node:
        """``node``, the constant for an operand; the leaf of a traced number instead."""
        if not is_traced(operand):
            return node
        if node.dtype.kind not in "fiu":
            raise Escaped(f"as a {node.dtype}", indices_of(operand))
        key = Operand(text_of(operand), type(plain(operand)), node.dtype)
        if key not in self.numbers:
            self.numbers[key] = leaf(argument, f"number{len(self.numbers)}", node.type)
            self.constants[self.numbers[key]] = node
        return self.numbers[key]

    def _written_number(self, number: Any, dtype: numpy.dtype) -> Node:
        """A number on its way into an array; NumPy refuses some numbers where the array is no float."""
        if is_traced(number):
            self._require_float(number, dtype)
        return self._number(number, literal(plain(number)))

    def _require_float(self, number: Any, dtype: numpy.dtype) -> None:
        if not (dtype.name in ("float32", "float64") and isinstance(number, float)):
            raise Escaped(f"written into an array of {dtype}", indices_of(number))

    def _operand(self, operand: Any) -> Any:
        """A node, or a Python number (traced or not) as it is."""
        if isinstance(operand, ndarray):
            return self.memory.node_of(operand)
        if isinstance(operand, numpy.ndarray):
            return self.memory.node_of(operand)
        if isinstance(operand, numpy.generic | list | tuple):
            return literal(data_of(operand))
        return operand

    def _record(
        self, result: ndarray, operator: Operator, operands: tuple[Any, ...], attrs: dict[str, Any]
    ) -> None:
        try:
            nodes = self._operand_nodes(operator, [self._operand(o) for o in operands])
        except TraceError as error:
            self._stop(f"computes what no graph can: {error}")
            return
        node = self._node(operator, nodes, attrs)
        data = result._data
        if node.type.shape != data.shape or node.type.dtype != data.dtype:
            self._stop(f"{operator.name} gave {type_of(data)} where its rule says {node.type}")
        self.memory.know(result, node)

    def _node(self, operator: Operator, operands: tuple[Node, ...], attrs: dict[str, Any]) -> Node:
        rule = operator.result_type(*(o.type for o in operands), **attrs)
        node = Node(operator, operands, attrs, rule, user_source())
        self.sequence.append(node)
        if len(self.sequence) > _MAX_NODES:
            self._stop(
                f"calls more than {_MAX_NODES} operators; a while loop whose condition is an array is not unrolled"
            )
        if interpreter.current() is self:
            self.untaped.add(node)
        if operator.random:
            self.draws.append(node)
            if operands:
                self._stop(f"draws random numbers with arrays as parameters ({operator.name})")
        elif all(o in self._fixed or o.operator is constant for o in operands):
            self._fixed.add(node)
        return node

    def _refuse_shared(self, target: ndarray) -> None:
        """NOTE [updates] A write becomes a new value; that is right where it is one of the whole memory."""
        if self.memory.is_argument(target):
            self._stop("writes into an argument")
        elif self.memory.was_there(target):
            if not self.memory.begins_update(target):
                self._stop("writes into an array that it did not make")
        elif self.memory.is_part(target):
            self._stop("writes into memory that several arrays share")
        elif self.may_join:
            self.events.append(Write(self.memory.node_of(target), len(self.sequence), user_source()))

    def failed(self, error: Exception) -> None:
        """Writing the graph went wrong: the call goes on, the recording does not."""
        self.failure = error
        self._stop("cannot be recorded")

    def _stop(self, what: str) -> None:
        if not self.problem:
            source = user_source()
            where = f"{source.function} " if source else ""
            self.problem = f"{where}{what}" + (f" at {source}" if source else "")


class _Assigning:
    """While an attribute is assigned, what changes is changed by the recorded call."""

    __slots__ = ("_before", "_holder", "_name", "_recorder", "_updating")

    def __init__(self, recorder: Recorder, holder: Any, name: str) -> None:
        self._recorder, self._holder, self._name = recorder, holder, name

    def __enter__(self) -> None:
        recorder = self._recorder
        self._before = own_dict(self._holder).get(self._name, MISSING)
        self._updating, recorder._updating = recorder._updating, get_ident()

    def __exit__(self, kind: object, _: object, __: object) -> None:
        self._recorder._updating = self._updating
        if kind is None:
            self._recorder.assigned(self._holder, self._name, self._before)


class _Writing:
    """What goes wrong in here is the recorder's own business, and nobody else's."""

    __slots__ = ("_recorder",)

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, Exception):
            self._recorder.failed(error)
            return True
        return False


def _plain(operands: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(plain(o) for o in operands)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
