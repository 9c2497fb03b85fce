"""Random steps of training: a random net (``programs``), a loss of whatever it gives, ``backward`` in one of its forms,
and something that changes the parameters.
"""

from __future__ import annotations

import random
from dataclasses import replace

from programs import Program, program

# {record}: lines within ``record()``; {lines}: after it. ``loss`` is what both make, ``result`` what the net gave.
STEP = """\


from blockfuse import gluon
from blockfuse import lr_scheduler

TARGETS = np.array([[0.5], [-1.0]])


def floats_in(value):
    if isinstance(value, np.ndarray):
        return [value] if value.dtype.kind == "f" else []
    if isinstance(value, dict):
        value = list(value.values())
    return [a for part in value for a in floats_in(part)] if isinstance(value, (list, tuple)) else []


def loss_of(net, result):
    total = (net.gate.gain.data() ** 2).mean()
    for part in floats_in(result):
        total = total + {loss}
    return total


class Gradual:
    def __init__(self, net):
        self.parameters = [p for p in net.collect_params().values() if -1 not in p.shape]
        self.rate = np.array(0.125)
        self.count = np.array(0.0)
        self.seen = np.zeros((3,))
        self.speeds = [np.zeros_like(p.data()) for p in self.parameters]

    def step(self):
        count = self.count
        count += 1
        for p, speed in zip(self.parameters, self.speeds):
            speed[...] = speed * 0.5 + p.grad()
            weight = p.data()
            weight -= self.rate * speed


def step_of(net):
    gradual = net.gradual = Gradual(net)
    trainer = net.trainer = gluon.Trainer(gradual.parameters, {kind})
    parameters = gradual.parameters

    def step(x, *more, **others):
{record}
{lines}
        return {returned}

    return step
"""

LOSSES = (
    *("(part * part).mean()", "((part - 0.5) ** 2).sum()", "np.abs(part).sum()", "np.tanh(part).mean()"),
    *(
        "(part * TARGETS[0]).sum()",
        "(npx.softmax(part.reshape(1, -1)) ** 2).sum()",
        "part.sum() * part.mean()",
    ),
    *("-npx.log_softmax(part.reshape(1, -1))[0, :1].sum()", "gluon.loss.HuberLoss()(part, part * 0).mean()"),
    *("np.maximum(part, 0.25).mean()", "(part / (1 + np.abs(part))).sum()", "part.reshape(-1)[:1].sum()"),
)
KINDS = (
    *("'sgd', {'learning_rate': 0.125}", "'sgd', {'learning_rate': 0.125, 'momentum': 0.5, 'wd': 0.25}"),
    *("'nag', {'learning_rate': 0.125, 'momentum': 0.5}", "'adam', {'learning_rate': 0.05}"),
    *("'adamw', {'learning_rate': 0.05, 'wd': 0.1}", "'rmsprop', {'learning_rate': 0.01}"),
    *("'adagrad', {'learning_rate': 0.1}", "'adadelta', {}", "'adamax', {'learning_rate': 0.01}"),
    *(
        "'nadam', {'learning_rate': 0.01}",
        "'ftrl', {'learning_rate': 0.1}",
        "'lamb', {'learning_rate': 0.05}",
    ),
    *("'signum', {'learning_rate': 0.03125, 'momentum': 0.5}",),
    *("'sgd', {'learning_rate': 0.125, 'clip_gradient': 0.25}",),
    *("'sgd', {'lr_scheduler': lr_scheduler.FactorScheduler(2, 0.5, base_lr=0.25)}",),
    *("'adam', {'lr_scheduler': lr_scheduler.CosineScheduler(8, 0.1)}",),
)
# within ``record()``, behind the loss
RECORDED = (
    ("if loss > 1:", "    loss = loss * 0.5"),
    ("while loss > 4:", "    loss = loss / 2"),
    ("loss = loss + sum((p.data() ** 2).sum() for p in parameters) * 0.25",),
    ("with autograd.pause():", "    gradual.seen[...] = loss"),
    ("gradual.seen[1:] = loss.detach()",),
    ("with autograd.pause():", "    seen = gradual.seen", "    seen[...] = seen * 0.5 + loss"),
    ("buffer = np.zeros((2,))", "buffer[0] = loss", "buffer += 1", "loss = buffer.sum()"),
    ("loss = loss * npx.stop_gradient(loss)",),
    ("loss = npx.dropout(loss * np.ones((4,)), 0.5).sum()",),
    ("with autograd.predict_mode():", "    loss = loss + sum(p.data().sum() for p in parameters)"),
    ("both = np.stack([loss, loss * 2])", "both[1] *= both[0]", "loss = both.mean()"),
    ("rows = np.ones((2, 3)) * loss", "rows[:, 1:] = rows[:, :-1] * 2", "loss = rows.sum()"),
)
# {call}: the net's result
MADE = (
    ("with autograd.record():", "    result = {call}", "    loss = loss_of(net, result)"),
    ("with autograd.record():", "    result = {call}", "    loss = loss_of(net, result)"),
    ("with autograd.record(train_mode=False):", "    result = {call}", "    loss = loss_of(net, result)"),
    ("with autograd.record():", "    result = {call}", "    loss = loss_of(net, result) + loss_of(net, {call})"),
    ("loss = 0", "for _ in range(2):", "    with autograd.record():", "        result = {call}",
     "        loss = loss_of(net, result)", "    loss.backward(retain_graph=True)"),
    ("{call}", "with autograd.record():", "    result = {call}", "    loss = loss_of(net, result)"),
)  # fmt: skip
CALLS = (
    *("net(x, *more, **others)", "net(x * net.gate.gain.data().mean(), *more, **others)"),
    *(
        "net(x + net.gate.gain.data(), *more, **others)",
        "net(npx.relu(x * net.weight.data()), *more, **others)",
    ),
)
BACKWARDS = (
    *(("loss.backward()",),) * 4,
    ("loss.backward(retain_graph=True)", "loss.backward()"),
    ("loss.backward(np.array(2.0))",),
    ("autograd.backward([loss])",),
    ("for p in parameters:", "    p.zero_grad()", "loss.backward()"),
    ("grads = autograd.grad(loss, [p.data() for p in parameters], retain_graph=True)",
     "for p, g in zip(parameters, grads):", "    p.grad()[...] = g"),
    ("if loss < 100:", "    loss.backward()"),
    ("loss.backward()", "norm = gluon.utils.clip_global_norm([p.grad() for p in parameters], 0.5, False)"),
    ("loss.backward()", "for p in parameters:", "    slope = p.grad()", "    slope *= 0.5"),
    ("loss.backward(retain_graph=True)",),
)  # fmt: skip
CHANGES = (
    *(("trainer.step(1, ignore_stale_grad=True)",),) * 4,
    ("trainer.step(2)",),
    *(("gradual.step()",),) * 2,
    ("trainer.update(1, ignore_stale_grad=True)", "trainer.update(1, ignore_stale_grad=True)"),
    ("for p in parameters:", "    p.set_data(p.data() - p.grad() * 0.125)"),
    ("for p in parameters[:1]:", "    w = p.data()", "    w[...] = w - p.grad() * gradual.rate"),
    ("for p in parameters[:1]:", "    w = p.data()", "    w[:1] -= p.grad()[:1]"),
    ("count = gradual.count", "count += 1", "if count > 2:", "    trainer.step(1, ignore_stale_grad=True)",
     "    count[...] = 0"),
    ("if loss > 0.5:", "    trainer.step(1, ignore_stale_grad=True)"),
    (),
)  # fmt: skip
RETURNED = (
    *("loss", "loss", "loss", "loss", "loss", "loss * 1", "loss.detach()", "loss.detach()", "loss.detach()"),
    *("result", "None", "float(loss)", "loss * 1, gradual.count"),
    *("[p.grad() for p in parameters]", "parameters[0].data() * 2", "parameters[0].grad() * 1", "x, loss"),
    *("[p.data().sum() for p in parameters]", "gradual.seen.sum(), loss"),
)

# what people do between steps
EDITS = (
    *(
        "net.trainer.set_learning_rate(0.25)",
        "net.trainer.set_learning_rate(0)",
        "net.gradual.rate[...] = 0.5",
    ),
    *("net.gradual.rate = np.array(0.25)", "net.gradual.rate = 0.25", "net.gradual.count[...] = 7"),
    *(
        "net.gradual.seen = net.gradual.seen * 1",
        "net.gradual.speeds[0] = net.gradual.speeds[0] * 1",
        "net.zero_grad()",
    ),
    *(
        "net.setattr('grad_req', 'add')",
        "net.setattr('grad_req', 'write')",
        "net.setattr('grad_req', 'null')",
    ),
    *("net.weight.grad_req = 'add'", "net.weight.grad_req = 'null'", "net.weight.grad_req = 'write'"),
    *("net.weight.grad()[...] = 3", "net.weight.grad()[:1] += 1", "net.weight.data().attach_grad()"),
    *("net.weight.data().attach_grad('add')", "net.weight.lr_mult = 0.5", "net.weight.wd_mult = 0.0"),
    *("net.trainer.optimizer.wd = 0.5", "net.trainer.optimizer.rescale_grad = 2", "net.trainer._scale = 0.5"),
    *("net.trainer.optimizer.clip_gradient = 0.125", "net.trainer.optimizer.momentum = 0.25"),
    *("net.trainer.save_states(path)", "net.trainer.load_states(path)", "net.save_parameters(path)"),
    *(
        "net.load_parameters(path)",
        "net.gradual.speeds[-1][...] = 0",
        "net.trainer.step(1)",
        "held = net.weight.grad()",
    ),
    *(
        "net.trainer.step(1, ignore_stale_grad=True)",
        "held = net.weight.data()",
        "held[:1] = 0.5",
        "held += 1",
    ),
    *("held = net.gradual.seen[:1]", "net.gradual.seen = net.weight.data()", "held = net.gradual.rate"),
    *("net.gradual.parameters.pop()", "net.gradual.parameters.append(net.weight)", "result.backward()"),
    *(
        "net.trainer._optimizer = gluon_optimizer('sgd')",
        "gradients = [p.grad() for p in net.gradual.parameters]",
    ),
    *("net.reset_ctx(None)", "net.collect_params()", "x.attach_grad()", "y.attach_grad()", "x = x.detach()"),
)


def training_program(pick: random.Random) -> Program:
    """A program with ``step_of(net)``, a function that trains the net."""
    made, call = program(pick, strange=0.08), pick.choice(CALLS)
    lines = [line.format(call=call) for line in pick.choice(MADE)]
    deeper = max(len(line) - len(line.lstrip()) for line in lines)
    for recorded in pick.sample(RECORDED, pick.choice((0, 0, 1, 1, 2))):
        place = len(lines) if not lines[-1].lstrip().startswith("loss.backward") else len(lines) - 1
        lines[place:place] = [" " * deeper + line for line in recorded]
    after = [*pick.choice(BACKWARDS), *pick.choice(CHANGES)]
    text = STEP.format(
        loss=pick.choice(LOSSES),
        kind=pick.choice(KINDS),
        record=_indented(lines),
        lines=_indented(after),
        returned=pick.choice(RETURNED),
    )
    draws = made.random or "dropout" in text  # from one stream, whose numbers two threads take as they come
    return replace(made, source=made.source + text, stateful=True, random=draws)


def _indented(lines: list[str]) -> str:
    return "\n".join(" " * 8 + line for line in lines)
