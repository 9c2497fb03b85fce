"""What the training examples share: epochs with a checkpoint after each, a line that shows how far they are, and a plot."""

from pathlib import Path
from time import perf_counter

import blockfuse

FOLDER = Path("build/train")
LINES = 20  # that a run prints, about


def train(name, net, trainer, step, epoch, epochs, folder):
    """Run ``epoch()`` until there were ``epochs`` of it, those of earlier runs counted; its figures, as lists by name.

    step: what is compiled. epoch: calls it for all the data, and gives figures by name, such as ``{"loss": 0.3}``.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    file = Path(folder, f"{name}.npz")
    curves = blockfuse.load_checkpoint(file, net, trainer) if file.exists() else {}
    done = min(map(len, curves.values()), default=0)
    print(
        f"{name}: {done} of {epochs} epochs are in {file}"
        if done
        else f"{name}: {epochs} epochs, into {file}"
    )
    for number in range(done + 1, epochs + 1):
        started = perf_counter()
        figures = epoch()
        curves = {what: [*curves.get(what, []), value] for what, value in figures.items()}
        blockfuse.save_checkpoint(file, net, trainer, **curves)
        if number % max(1, epochs // LINES) == 0:
            print(f"epoch {number:3}: {shown(figures)}, {perf_counter() - started:.2f} s", flush=True)
    print(f"a step is {step.explain().splitlines()[0]}")
    plot(name, curves, file.with_suffix(".png"))
    return curves


def shown(figures):
    return ", ".join(f"{what} {value:.4f}" for what, value in figures.items())


def plot(name, curves, file):
    """Draw each figure over the epochs, one panel above the other."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: pip install 'blockfuse[train]'")
        return
    figure = Figure(figsize=(6, 2.4 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), sharex=True, squeeze=False)[:, 0]
    for axes, (what, values) in zip(panels, curves.items(), strict=True):
        axes.plot(range(1, len(values) + 1), values, color="#2f6fde")
        axes.set_ylabel(what)
        axes.grid(color="#e6e6e6")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_title(name)
    panels[-1].set_xlabel("epoch")
    figure.savefig(file, dpi=160)
    print(f"curves: {file}")
