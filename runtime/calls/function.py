"""``blockfuse.hybridize``: for a plain function of arrays what ``net.hybridize()`` does for a block."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, overload

from blockfuse.array.ndarray import ndarray
from blockfuse.array.stamps import Watcher
from blockfuse.runtime.calls.dispatch import Hybrid
from blockfuse.runtime.calls.options import OPTIONS
from blockfuse.runtime.calls.owner import asks_entry, name_of
from blockfuse.runtime.calls.warming import warm_up
from blockfuse.runtime.programs.backend import Entry, FastCall
from blockfuse.runtime.tracebacks import fold


class HybridFunction:
    """A function whose calls are compiled; calling, signature and documentation are the function's."""

    __wrapped__: Callable[..., Any]
    _entry: Entry | None  # the compiled call, as of a block
    _fast_call: FastCall | None

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self._entry, self._fast_call = None, None
        self._options = options
        self._hybrid = Hybrid(FunctionOwner(function, self), options)
        functools.update_wrapper(self, function)

    @asks_entry
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            entry = self._entry
            if entry is not None and not kwargs:
                result = entry(*args)
                if result is not NotImplemented:
                    return result
            return self._hybrid.call(args, kwargs)
        except Exception as error:
            fold(error)
            raise

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method, each instance and class calls the plain function: its state is the instance's."""
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        return f"<hybridized {getattr(self.__wrapped__, '__qualname__', name_of(self.__wrapped__))}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return HybridFunction, (self.__wrapped__, self._options)

    def _repr_html_(self) -> str:
        from blockfuse.runtime.pages import document, markup, outline

        return document.fragment(markup.element("p", repr(self)), outline.outline(self.explain()))

    def warm_up(self, *args: Any, dtype: Any = "float32", **kwargs: Any) -> tuple[str, ...]:
        """As ``Block.warm_up``: () where calls with such arguments are compiled now, else why they run in Python."""
        return warm_up(self, self._hybrid, args, kwargs, dtype)

    def explain(self) -> str:
        """What was compiled, what runs in Python, and why: print it, or let a notebook show it."""
        return self._hybrid.explain()


class FunctionOwner:
    """A function as dispatch sees it (``runtime.calls.owner``): it holds no blocks and no parameters, as far as is known."""

    def __init__(self, function: Callable[..., Any], hybrid: HybridFunction) -> None:
        self.subject = self.definition = function
        self.name = name_of(function)
        self.run = functools.partial(_run, function)
        self.called = type(hybrid)
        self._hybrid = hybrid

    @property
    def entry(self) -> Entry | None:
        return self._hybrid._entry

    def ask_first(self, entry: Entry | None) -> None:
        self._hybrid._entry = entry

    @property
    def fast_call(self) -> FastCall | None:
        return self._hybrid._fast_call

    def ask_in_other_forms(self, fast_call: FastCall | None) -> None:
        self._hybrid._fast_call = fast_call

    def watch(self, watcher: Watcher) -> None:
        """A function tells nobody of changes."""

    @property
    def is_followed_by_rules(self) -> bool:
        return False

    def disagreement(self, recorded: Any, result: Any) -> str:  # noqa: ARG002 - there is one code
        return ""

    def compile_children(self) -> None:
        """There are none."""

    def compiled_children(self) -> tuple[()]:
        return ()

    def parameter_arrays(self) -> tuple[ndarray, ...]:
        return ()

    def attribute_arrays(self) -> tuple[ndarray, ...]:
        return ()


def _run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


@overload
def hybridize(function: Callable[..., Any], /, **options: Any) -> HybridFunction: ...


@overload
def hybridize(function: None = None, /, **options: Any) -> Callable[[Callable[..., Any]], HybridFunction]: ...


def hybridize(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Compile the calls of ``function``; also a decorator, with or without options.

    Options are those of ``Block.hybridize``: ``backend``, ``threads``, ``precision``, ``audit``, ``check``.

    >>> import blockfuse
    >>> from blockfuse import np
    >>> @blockfuse.hybridize
    ... def scaled(x, y):
    ...     return np.maximum(x, y) * 2
    >>> scaled(np.array([1, -1]), np.array([0, 3]))
    array([2., 6.])
    """
    if function is None:
        return functools.partial(hybridize, **options)
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"hybridize() has no option {name!r}; it has {', '.join(OPTIONS)}")
    if not callable(function):
        raise TypeError(f"hybridize() takes a function or a block, not a {type(function).__name__}")
    if hasattr(function, "hybridize"):
        function.hybridize(**options)
        return function
    return HybridFunction(function, options)
