"""Why calls run in Python, or a program is less than it could be: what each reason means, and what to write instead.

``explain()`` and the command line add the cure to what they say, and docs/reasons.md shows the whole table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PAGE = "docs/reasons.md"


@dataclass(frozen=True)
class Reason:
    """A kind of reasons."""

    name: str  # heading on the page
    texts: tuple[
        str, ...
    ]  # regular expressions: what the texts of this kind contain; none where the place says it
    meaning: str  # why it is so
    cure: str  # what to write instead, one sentence without its full stop
    before: str = ""  # a line or two of a forward for which it holds
    after: str = ""  # the same, cured

    @property
    def anchor(self) -> str:
        """What a heading is called in the address of the page."""
        return self.name.lower().replace(" ", "-").replace(",", "")

    @property
    def line(self) -> str:
        """The cure, as a line of ``explain()`` says it."""
        return f"cure: {self.cure}; see {PAGE}#{self.anchor}"


# The first row that fits counts.
REASONS: tuple[Reason, ...] = (
    Reason(
        "Too many operators",
        (
            r"calls more than \d+ operators",
            "counts too many rounds",
            "takes more than .* ways between decisions",
        ),
        "Every round of a Python loop over numbers is recorded; so many rounds or ways are no program "
        "any more.",
        "let array values end the loop (while np.abs(h).max() > eps), make its rounds alike, or "
        "hybridize the body of the loop",
        "for i in range(100000):\n    h = self.step(h, i * 0.5)",
        "net.step.hybridize()  # and the loop stays in Python",
    ),
    Reason(
        "Rounds that differ",
        (
            "takes more than .* decisions, none of them twice",
            "what changes in the rounds of a long loop is used as a value",
            "uses an array of an earlier round, which no variable held",
            "goes round a loop too often to do it once more",
        ),
        "A loop is closed where a round begins with the Python values of an earlier one, or with whole "
        "numbers that went on by steps. Floats that change tell the rounds apart: each would be code of its own, "
        "as are decisions that stand one behind the other.",
        "keep numbers that change from round to round as arrays, and choose by np.where what few lines decide",
        "t, h = 0.0, 0.1\nwhile t < end:\n    x, t = x + h * slope(x), t + h",
        "t, h = np.array(0.0), np.array(0.1)  # the rest stays",
    ),
    Reason(
        "Long loops",
        (
            "takes more than .* decisions in a call that is recorded",
            "goes round loops for more than .* operators in a call that is recorded",
        ),
        "Every round of a call that is recorded is looked at, which takes some tenths of a millisecond for each.",
        "call it first with values for which it takes fewer rounds: a loop that was recorded once runs natively "
        "for as many as it takes",
        "x = settle(x, np.array(1e-9))",
        "settle(x, np.array(1e-2))\nx = settle(x, np.array(1e-9))",
    ),
    Reason(
        "Operators that may raise",
        ("which may raise, where no result needs it", "catches what .* raises for some values"),
        "Eager calls raise for a matrix without an inverse, or an index beyond its axis, even if nobody "
        "needs the result.",
        "leave out the operator whose result nobody needs, or return what it gives",
    ),
    Reason(
        "Values in Python",
        (r"uses values in Python", "uses a number in Python"),
        "float(), int(), item(), asnumpy(), formatting and iteration need the number itself, which a "
        "program has only at its end.",
        "keep it an array (y / np.abs(y).max(), np.where(x > 0, a, b), if and while on arrays), and "
        "call float() on what the net returns",
        "return x / float(np.abs(x).max())",
        "return x / np.abs(x).max()",
    ),
    Reason(
        "Signals while recording",
        ("a signal was handled while it was recorded",),
        "The handler ran in the middle of the call, and may have changed what it read.",
        "nothing: a later call is recorded",
    ),
    Reason(
        "Profilers",
        ("a profiler is active",),
        "Recording looks on by way of sys.setprofile, where there is one place.",
        "call the net once before the profiler starts; it is recorded as soon as the profiler is gone",
        "cProfile.run('for x in batches: net(x)')",
        "net(batch)\ncProfile.run('for x in batches: net(x)')",
    ),
    Reason(
        "Forks while another thread records",
        ("forked while another thread of its parent recorded",),
        "CPython 3.12 still counts the thread that looked on, which is not in the child, and crashes where "
        "another one begins.",
        "call the nets once before the process forks, start workers by spawn, or use another version of CPython",
    ),
    Reason(
        "Random numbers of NumPy",
        (r"draws from numpy\.random", r"calls .*numpy\.random", r"numpy\.random\S* (as|in) "),
        "The stream of numpy.random belongs to Python: a program would draw nothing from it.",
        "draw from blockfuse.np.random, whose draws compile",
        "noise = numpy.random.normal(size=x.shape)",
        "noise = np.random.normal(size=x.shape)  # of blockfuse",
    ),
    Reason(
        "Draws that cannot be repeated",
        (
            "draws random numbers",
            "writes over the random numbers that it drew",
            "(seeds|moves) the random stream",
            "looks where the random stream is",
        ),
        "A program draws as often and in the same order as Python, from parameters that are numbers.",
        "draw before the branch or loop, or pass what was drawn as an argument; call np.random.seed "
        "outside of forward",
        "if x.sum() > 0:\n    x = x + np.random.normal(size=x.shape)",
        "noise = np.random.normal(size=x.shape)\nx = np.where(x.sum() > 0, x + noise, x)",
    ),
    Reason(
        "Files and data",
        (
            r"(reads|writes) (or writes )?(a )?files?",
            "reads or writes a file",
            "DataLoader",
            "(resets|updates) a metric",
            "batch sampler",
        ),
        "Reading, writing and iterating happen once for each call of forward, and a program would not do it.",
        "read and iterate where the net is called, and hand it arrays; update metrics with what it returns",
        "return self.out(np.load('table.npy')[x])",
        "self.table = np.load('table.npy')  # in __init__\nreturn self.out(self.table[x])",
    ),
    Reason(
        "Settings of the process",
        (
            "writes to the log",
            "sets up logging",
            "registers a class",
            "NumPy's print options",
            "how NumPy treats errors",
            "formats by the locale",
            "cannot be asked again",
            "which would tell of the recording",
            r"looks at \S+",
        ),
        "The call asks or sets what belongs to the whole process, or asks Python about itself.",
        "ask or set it outside of forward, and keep what it says in an attribute",
        "log.warning('large: %s', x.shape)",
        "y = net(x)\nlog.warning('large: %s', x.shape)",
    ),
    Reason(
        "Attributes that forward assigns",
        (
            "which it may have read before",
            "which holds a block or a parameter",
            "assigns the attribute .*, which is a",
            r"which is a \S+, and neither array, number nor container",
            "before it assigns it",
            "which it also assigns",
            "forward assigns .*; the next call is recorded",
            "attributes are given no gradients",
            "what forward assigns to",
            "or another attribute, is a list or dict",
            "or to another attribute, is a",
            "could have gradients, which a program",
            "an argument is an array that forward reads from an attribute",
            "by a function that is not looked into",
        ),
        "Programs assign arrays, numbers, text and new containers of them, and read before what is an array.",
        "hold it as an array (np.zeros(()) in __init__), write self.name = value in forward, outside of "
        "record() or in a train_step, and assign a copy of what is held elsewhere",
        "self.calls += 1\nreturn x * self.calls",
        "self.calls = self.calls + 1  # np.zeros(()) in __init__\nreturn x * self.calls",
    ),
    Reason(
        "State that forward changes",
        (
            r"(assigns|deletes) the (attribute|global)",
            "assigns .* of the enclosing function",
            r"\bimports ",
            "forward changes Python state",
        ),
        "A counter, a list or an attribute that each call changes is the work of Python, which a "
        "program replaces.",
        "return what changes and keep it where the net is called, write into an array (self.total[...] "
        "= ...), import at the top",
        "self.calls += 1\nreturn x * self.calls",
        "self.calls[...] = self.calls + 1  # np.zeros(()) in __init__\nreturn x * self.calls",
    ),
    Reason(
        "State that changes between calls",
        ("its state changes too often", "path changes too often"),
        "A program rests on what forward reads; if that changes before nearly every call, each program "
        "serves one call.",
        "pass what changes as an argument of the call, or keep it in an array of an attribute",
        "net.scale = 0.1 * n\nnet(x)",
        "net(x, 0.1 * n)  # forward(self, x, scale)",
    ),
    Reason(
        "State that cannot be seen",
        (
            "whose (state|place) cannot be seen",
            "it holds more than .* values",
            "more Python state than is searched through",
            "which changes with every import",
            "encloses variables that cannot be seen",
        ),
        "Iterators, objects of C, and very large containers within reach of forward cannot be compared "
        "before each call.",
        "keep such objects outside of the net, and pass forward what it takes from them",
        "x = x * next(self.scales)",
        "net(x, next(scales))  # forward(self, x, scale)",
    ),
    Reason(
        "Functions that are not known",
        ("which is not known to be pure", r"\bcalls \S+"),
        "A C function may print, read a clock or change something; only those of NumPy, math and the "
        "like are known not to.",
        "call it where the net is called (print, time, files), or write it with functions of np",
        "print(x.shape)\nreturn self.out(x)",
        "y = net(x)\nprint(x.shape)",
    ),
    Reason(
        "Functions met for the first time",
        ("was met for the first time",),
        "What the function encloses and names was not looked at before the call.",
        "nothing: the next call is recorded with it",
    ),
    Reason(
        "Lists and dicts",
        (
            "returns a list or dict that it (did not make|was given)",
            "returns one list or dict twice",
            "changes a list or dict among its arguments",
        ),
        "A program makes the lists and dicts of its result anew at every call, and changes none that it "
        "is given.",
        "return a new list (list(values), or [*values]), and write into an array instead of a list that "
        "is passed in",
        "cache.append(h)\nreturn h",
        "cache[t] = h  # an array of a fixed length\nreturn h * 1",
    ),
    Reason(
        "Results that are no arrays",
        ("returns a .*, which is neither array, number nor container",),
        "A program gives arrays, numbers, texts, and tuples, lists and dicts of them.",
        "return a tuple or dict of arrays, and make the object of it where the net is called",
        "return Output(mean, scale)",
        "return {'mean': mean, 'scale': scale}",
    ),
    Reason(
        "Results that share memory",
        (
            "a result is an array that no operator of the call made",
            "a result shares memory with",
            "a result is a view that must not be written",
            "two results share memory",
        ),
        "Whoever writes into such a result changes an argument, a parameter or another result; a "
        "program gives new memory.",
        "return a copy: x.copy(), or x * 1",
        "return x",
        "return x.copy()",
    ),
    Reason(
        "Arguments that forward holds as well",
        ("an argument is an array that forward can reach without it",),
        "The array is an argument and an attribute or parameter at once: nobody can tell which of both "
        "a program should read.",
        "pass a copy, or do not keep the array in an attribute",
    ),
    Reason(
        "Writes",
        (
            "writes into an? ",
            "writes into memory that several arrays share",
            "changes a NumPy array",
            "writing to its memory by way of another one",
            "lies in NumPy's memory and is not C-contiguous",
            r"parameter .* is not C-contiguous",
            "by way of an array that nobody saw made",
            "a part of several elements is written",
            "out= is an array of NumPy's",
            "writes at an index made of arrays",
        ),
        "Programs write to parameters, gradients and arrays of attributes; other memory may belong to "
        "somebody else.",
        "write into an array that forward made (x = x.copy()), or that an attribute holds "
        "(self.total[...] = x)",
        "x *= 0.5\nreturn x",
        "x = x * 0.5\nreturn x",
    ),
    Reason(
        "Tensors that are no arrays",
        ("cannot be read where it lies",),
        "What a module of torch holds is read where it lies, as an array of NumPy's: not if it is sparse or "
        "quantized, of a dtype that NumPy lacks, on another device, or marked as negated or conjugated.",
        "hold a dense tensor of a dtype that NumPy has, such as w.float(), w.to_dense(), w.resolve_neg()",
    ),
    Reason(
        "Gradients",
        (
            "whose gradient can still be asked for",
            "gradients go to",
            "reads gradients of parameters",
            "follows gradients to",
            "by way of two arrays",
            "it uses recorded values that are neither",
            r"an autograd\.Function",
            "drops the gradient of an array",
            "attaches a gradient to an array",
            "the gradient of an array that no parameter holds",
            "gradients of (gradients|computed values) are asked for",
        ),
        "Programs follow gradients to parameters, within the call; what outlives it, or goes elsewhere, "
        "Python follows.",
        "ask for gradients inside of one hybridized function, of parameters: blockfuse.train_step(net, "
        "loss, trainer); or detach()",
        "with autograd.record():\n    y = net(x)\nreturn y",
        "return net(x).detach()",
    ),
    Reason(
        "Ways that do not fit together",
        (
            "ways through forward are too entangled",
            "forward did something else than before",
            "not every way to where it is needed computes",
            "the results of some paths have other (types|structure)",
            "have another structure than those of others",
            "its flow depends on data",
            "in a way that was not seen",
        ),
        "One program holds all ways of a signature; after a decision they must give results of the same types.",
        "give all branches results of one shape and dtype, and let arrays decide (np.where) or "
        "arguments, not hidden state",
        "return x if x.sum() > 0 else x.astype('float64')",
        "return np.where(x.sum() > 0, x, -x)",
    ),
    Reason(
        "What the language does not have",
        (
            r"computes what no graph can",
            r"gave .* where its rule says",
            r"does not fit \w+:",
            "results are audited",
            "for a device$",
        ),
        "An operator was given something that graphs cannot hold, or an option rules the program out.",
        "use arrays of the dtypes of docs/contract.md; inside of record() leave out audit=, and let the "
        "processor compute",
    ),
    Reason(
        "Rules that differ from their library",
        ("its own code gives something else than the rules",),
        "A model of another library is followed by rules for its operations and held against that library, "
        "whose result counts.",
        "write the operation that is named in another way, or leave the model to its library",
    ),
    Reason(
        "Failures of the compiler",
        (
            "compiling it failed",
            "cannot be recorded",
            "what it did cannot be judged",
            "its state cannot be read",
            "first operator that differs",
            "gave something else",
        ),
        "Something is wrong in blockfuse. Calls run in Python, with right results.",
        "please report it, with the warning and this text; until then hybridize the parts of the net "
        "that compile",
    ),
    # -- known by the place where they stand ------------------------------------------------------------------
    Reason(
        "Numbers in the signature",
        ("a number among the arguments changes too often",),
        "Python looks at the number (compares, formats, uses it as a size), so each value has a program "
        "of its own.",
        "pass an array, np.array(t), or use the number in arithmetic with arrays alone",
        "steps = int(t)\nreturn x * steps",
        "return x * t  # any t, one program",
    ),
    Reason(
        "Sizes of the batch",
        (),
        "One program serves every size of the batch where each item is computed by itself, and Python "
        "does not look at the size.",
        "do not mix the items of the batch (x.mean(axis=0)) and do not read x.shape[0]: write -1 in "
        "reshape, or np.zeros_like(x)",
        "return x.reshape(x.shape[0], 12)",
        "return x.reshape(-1, 12)",
    ),
    Reason(
        "Loops that are written out",
        (),
        "A loop that counts becomes one native loop if its number is compared and counted only, or its "
        "rounds are alike.",
        "use the counter as an array (t = np.zeros(()); t += 1), keep the state in arrays, and append "
        "to no list before the loop ends",
        "for t in range(steps):\n    if x.sum() > 0:\n        x = x * t",
        "t = np.zeros(())\nwhile t < steps:\n    x = np.where(x.sum() > 0, x * t, x)\n    t += 1",
    ),
    Reason(
        "Rounds of growing arrays",
        (),
        "Rounds that have the same operators on arrays of other shapes, as where a cache grows by np.concatenate or is "
        "read as far as it is written, have code of their own each, so compiling takes as long as there are rounds.",
        "give the array its full size before the loop, write keys[t] = k, and mask the places to come",
        "keys = np.concatenate([keys, k])\nweights = npx.softmax(q @ keys.T)",
        "keys[t] = k[0]\nweights = npx.masked_softmax(q @ keys.T, (np.arange(n) <= t)[None])",
    ),
    Reason(
        "Steps by NumPy",
        (),
        "No kernel computes this operator for this dtype or size, so the program calls NumPy, between "
        "two native parts.",
        "use float32 or float64, and shorter axes for sort and linalg (docs/contract.md has the sizes)",
    ),
    Reason(
        "Several dtypes in one product",
        (),
        "NumPy's rules promote float32 to the widest dtype of the product, which takes twice the time "
        "and memory.",
        'give it one dtype: x.astype("float32") for the input, or cast("float64") for the net',
        "net(x64)",
        "net(x64.astype('float32'))",
    ),
)  # fmt: skip
_BY_NAME = {reason.name: reason for reason in REASONS}
NUMBERS, SIZES, LOOPS, GROWING, STEPS, DTYPES = (
    _BY_NAME[name]
    for name in (
        "Numbers in the signature",
        "Sizes of the batch",
        "Loops that are written out",
        "Rounds of growing arrays",
        "Steps by NumPy",
        "Several dtypes in one product",
    )
)


def reason_of(text: str) -> Reason | None:
    """The kind of a reason why calls run in Python; None where it has none."""
    return next((one for one in REASONS if any(re.search(pattern, text) for pattern in one.texts)), None)


def cure_lines(text: str) -> list[str]:
    """What to write instead, where somebody can: a line or none."""
    found = reason_of(text)
    return [] if found is None else [found.line]
