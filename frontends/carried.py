"""A model on its way to workers: each process unpacks it once, however many tasks bring it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

try:
    import cloudpickle
except ImportError:  # joblib brings its own
    from joblib.externals import cloudpickle

_MAX_UNPACKED = 8  # models of one process, with their programs; those of a notebook's earlier cells go
_unpacked: dict[str, Carried] = {}  # token -> what was unpacked last, the oldest first
_unpacking = threading.Lock()


class Carried:
    """A callable that is pickled as the bytes which it had when the tasks were made.

    So all tasks see one state of it, whatever is written to its parameters meanwhile, and tasks of one process share its
    programs. By cloudpickle, which takes classes of a script or a notebook along.
    """

    def __init__(self, token: str, content: bytes) -> None:
        self.token, self.content = token, content
        self.model: Callable[..., Any] = cloudpickle.loads(content)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """What the model gives, in this process."""
        return self.model(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return unpacked, (self.token, self.content)


def carried(model: Callable[..., Any]) -> Carried:
    """``model`` as it is now, for tasks of workers: a callable that each process unpacks once and shares among its tasks.

    model: a block, a hybridized function, a frozen net, or what ``blockfuse.compile`` gave. A worker compiles it when the
    first task calls it, or loads what the cache of its machine has; a frozen net is mapped.

    Raises what pickling the model raises.

    >>> import blockfuse
    >>> from joblib import Parallel, delayed
    >>> double = blockfuse.joblib.carried(blockfuse.hybridize(lambda x: x * 2))
    >>> tasks = [delayed(double)(blockfuse.np.array([float(n)])) for n in range(3)]
    >>> [float(y[0]) for y in Parallel(n_jobs=2, backend="threading")(tasks)]
    [0.0, 2.0, 4.0]
    """
    return Carried(uuid.uuid4().hex, cloudpickle.dumps(model))


def unpacked(token: str, content: bytes) -> Carried:
    """What came to this process under ``token`` before, or is unpacked now."""
    with _unpacking:
        known = _unpacked.pop(token, None)
        if known is None:
            known = Carried(token, content)
            while len(_unpacked) >= _MAX_UNPACKED:
                del _unpacked[next(iter(_unpacked))]
        _unpacked[token] = known
        return known
