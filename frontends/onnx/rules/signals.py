"""Rules of Fourier transforms and what is computed from them: products with matrices of cosines and sines."""

from __future__ import annotations

import numpy

from blockfuse.frontends.onnx.rules.table import Static, Value, rule
from blockfuse.frontends.onnx.rules.values import dtype_of, number


@rule("DFT", since=20)
def dft(
    x: Value, dft_length: Static = None, axis: Static = None, inverse: int = 0, onesided: int = 0
) -> Value:
    """Along an axis; the last axis holds real, or real and imaginary parts."""
    return _transformed(x, dft_length, -2 if axis is None else int(number(axis)), inverse, onesided)


@rule("DFT", until=19)
def dft_19(x: Value, dft_length: Static = None, axis: int = 1, inverse: int = 0, onesided: int = 0) -> Value:
    """With the axis as an attribute."""
    return _transformed(x, dft_length, axis, inverse, onesided)


def _transformed(x: Value, dft_length: Static, axis: int, inverse: int, onesided: int) -> Value:
    axis %= x.ndim
    last = numpy.moveaxis(x, axis, -1)  # (..., parts, length)
    length = last.shape[-1]
    if inverse and onesided:
        count = 2 * (length - 1) if dft_length is None else int(number(dft_length))
        return numpy.moveaxis(_real_inverse(last, count), -1, axis)
    count = length if dft_length is None else int(number(dft_length))
    cosines, sines = _turns(min(length, count), count // 2 + 1 if onesided else count, count, x.dtype)
    sines = -sines if inverse else sines
    last = last[..., : min(length, count)]
    real = last[..., 0, :]
    parts = [numpy.matmul(real, cosines), -numpy.matmul(real, sines)]
    if last.shape[-2] == 2:
        imaginary = last[..., 1, :]
        parts = [parts[0] + numpy.matmul(imaginary, sines), parts[1] + numpy.matmul(imaginary, cosines)]
    whole = numpy.stack(parts, axis=-2)
    return numpy.moveaxis(whole / count if inverse else whole, -1, axis)


def _turns(rows: int, columns: int, count: int, dtype: numpy.dtype) -> tuple[numpy.ndarray, numpy.ndarray]:
    turn = numpy.outer(numpy.arange(rows), numpy.arange(columns)) % count * (2 * numpy.pi / count)
    return numpy.cos(turn).astype(dtype), numpy.sin(turn).astype(dtype)


def _real_inverse(half: Value, count: int) -> Value:
    """The real values whose transform begins with ``half``."""
    kept = min(half.shape[-1], count // 2 + 1)
    cosines, sines = _turns(kept, count, count, half.dtype)
    weight = numpy.full((kept, 1), 2, half.dtype)
    weight[0] = 1
    if count % 2 == 0 and kept == count // 2 + 1:
        weight[-1] = 1
    real = numpy.matmul(half[..., 0, :kept], cosines * weight) - numpy.matmul(
        half[..., 1, :kept], sines * weight
    )
    return numpy.expand_dims(real / count, -2)


@rule("STFT")
def stft(
    signal: Value, frame_step: Static, window: Value = None, frame_length: Static = None, onesided: int = 1
) -> Value:
    """The transforms of windows of a signal: (batch, frames, bins, 2)."""
    step = int(number(frame_step))
    samples = signal.shape[1]
    length = (
        int(number(frame_length))
        if frame_length is not None
        else samples
        if window is None
        else window.shape[0]
    )
    count = (samples - length) // step + 1
    places = numpy.arange(count)[:, None] * step + numpy.arange(length)
    frames = numpy.take(signal, places, axis=1)
    frames = frames.reshape((signal.shape[0], count, length, -1))
    frames = frames if window is None else frames * window.reshape((length, 1))
    return _transformed(frames, None, 2, 0, onesided)


@rule("MelWeightMatrix")
def mel_weight_matrix(
    num_mel_bins: Static,
    dft_length: Static,
    sample_rate: Static,
    lower: Static,
    upper: Static,
    output_datatype: int = 1,
) -> Value:
    """Triangles that are equally wide by the ear, over the bins of a transform."""
    bands, length, rate = (int(number(v)) for v in (num_mel_bins, dft_length, sample_rate))
    low, high = (2595 * numpy.log10(1 + number(edge) / 700) for edge in (lower, upper))
    mel = numpy.arange(bands + 2) * ((high - low) / (bands + 2)) + low
    places = ((length + 1) * (700 * (10 ** (mel / 2595) - 1)) / rate).astype("int64")
    matrix = numpy.zeros((length // 2 + 1, bands))
    for band in range(bands):
        begin, middle, end = places[band : band + 3].tolist()
        if middle == begin:
            matrix[middle, band] = 1
        for bin_ in range(begin, middle + 1):
            matrix[bin_, band] = matrix[bin_, band] if middle == begin else (bin_ - begin) / (middle - begin)
        for bin_ in range(middle, end):
            matrix[bin_, band] = (end - bin_) / (end - middle)
    return matrix.astype(dtype_of(output_datatype))
