"""Each rule gives what torch gives: dtype, shape and elements, for odd axes, dtypes, sizes and forms of the call."""

from __future__ import annotations

import re
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

import blockfuse  # noqa: E402
from blockfuse.frontends.closeness import is_close  # noqa: E402
from blockfuse.frontends.torch import tensors  # noqa: E402
from blockfuse.frontends.torch.agreement import TOLERANCES  # noqa: E402
from blockfuse.frontends.torch.following import Following  # noqa: E402
from blockfuse.frontends.torch.torch_block import TorchBlock  # noqa: E402

torch.set_num_threads(1)
assert TorchBlock, "importing it tells the tracer of torch"

x = torch.tensor([[0.5, -1.25, 2.0], [-0.0, 3.5, -0.75]])
y = torch.tensor([[1.5, 0.25, -2.0], [4.0, -3.0, 0.5]])
i = torch.tensor([[3, -4, 7], [0, 5, -2]])
j = torch.tensor([[2, 3, -2], [1, -4, 5]])
small = torch.tensor([[1, -3, 2]], dtype=torch.int8)
b = torch.tensor([[True, False, True], [False, False, True]])
h = x.half()
d = x.double()
odd = torch.tensor([[float("nan"), float("inf"), -float("inf")], [0.0, -1.0, 1e30]])
empty = torch.zeros(0, 3)
scalar, whole = torch.tensor(2.5), torch.tensor(3)
cube = torch.linspace(-2, 2, 24).reshape(2, 3, 4)
turned = cube.permute(2, 0, 1)
image, line, box = (
    torch.linspace(-1, 1, 150).reshape(2, 3, 5, 5),
    cube,
    torch.linspace(-1, 1, 128).reshape(1, 2, 4, 4, 4),
)
w2, w1, w3 = (
    torch.linspace(-1, 1, n).reshape(s)
    for n, s in ((108, (4, 3, 3, 3)), (18, (2, 3, 3)), (32, (2, 2, 2, 2, 2)))
)
q, k, v = (torch.linspace(-1, n, 48).reshape(2, 2, 3, 4) for n in (1, 2, 3))
at = torch.tensor([[0, 2], [1, 1]])
label = torch.tensor([2, 0])
ties = torch.tensor([[1.0, 0.0, 1.0, -1.0, 0.0], [2.0, 2.0, 1.0, 2.0, 1.0]])

CASES = """
x + y; x + 1; 1 - x; x - i; i + 1.5; i + whole; small + 3; b + 1; h + scalar; h + x; x + d; scalar + i; 2 / x; x / 0
i / j; i / 2; i // j; x // y; x % y; i % j; -x; abs(i); x ** 2; x.abs() ** y; i.abs() ** 2; 2 ** x; 2 ** i.abs()
i ** 0.5; x * True; i * b; x.add(y, alpha=2); torch.sub(i, j, alpha=3); torch.rsub(x, y)
torch.div(x, y, rounding_mode="floor"); torch.div(x, y, rounding_mode="trunc"); torch.true_divide(i, 4)
torch.fmod(x, y); torch.fmod(i, j); torch.remainder(x, -0.75); x == y; i >= 2.5; x < scalar; b == i; i != j; small > 1
x.eq(0); torch.maximum(x, y); torch.minimum(i, j); torch.max(x, y); torch.minimum(odd, x); torch.fmax(odd, x)
torch.atan2(x, y); torch.hypot(x, y); b & ~b; i | j; i ^ 3; torch.logical_and(x, i); torch.logical_not(x)
torch.logical_xor(b, i); ~i; torch.where(b, x, y); torch.where(b, x, 0.0); torch.where(b, i, 1.5)
torch.where(x > 0, x, d); torch.where(b, 1, 0) + i; x.clamp(-1, 1); x.clamp(min=0); i.clamp(max=2.5)
x.clamp(y, y + 1); odd.clamp(0, 1); torch.clamp_min(i, 1); torch.lerp(x, y, 0.3); torch.addcmul(x, y, y, value=0.5)
torch.addcdiv(x, y, x + 10); x.round(); torch.round(y * 2.5); x.masked_fill(b, -1e9); i.masked_fill(b, 7)
torch.nan_to_num(odd); torch.isnan(odd); torch.isinf(odd); torch.isfinite(odd); torch.signbit(x); torch.exp(x)
torch.exp(i); torch.log(y.abs()); torch.log1p(y.abs()); torch.expm1(x); torch.sqrt(i.abs()); torch.rsqrt(y.abs())
torch.sin(x); torch.cos(h); torch.tan(x); torch.tanh(i); torch.sinh(x); torch.cosh(x); torch.asin(x / 4)
torch.acos(x / 4); torch.atan(x); torch.asinh(x); torch.acosh(y.abs() + 1); torch.atanh(x / 4); torch.sigmoid(x)
torch.sigmoid(i); torch.erf(x); torch.reciprocal(i + 9); torch.square(i); torch.sign(odd); torch.floor(x)
torch.ceil(x); torch.trunc(x); torch.frac(x); torch.floor(i); torch.exp2(x); torch.log2(y.abs()); torch.log10(y.abs())
torch.deg2rad(x); torch.float_power(x.abs(), 2); x.sum(); x.sum(0); x.sum(-1, keepdim=True); i.sum(); b.sum(1)
x.sum((0, 1)); x.sum(dim=[], keepdim=True); i.sum(dtype=torch.float32); x.sum(dtype=torch.float64); h.sum(0)
empty.sum(); empty.sum(0); scalar.sum(); scalar.sum(0); small.sum(); x.mean(); x.mean((0, -1), keepdim=True)
i.mean(dtype=torch.float32); x.prod(); i.prod(1); x.prod(-1, keepdim=True); b.prod(); x.amax(); x.amax(-1)
i.amin((0, 1)); x.max(); odd.max(); x.max(1); i.max(-1, keepdim=True); x.min(0); torch.max(x, dim=0).values
torch.min(x, 1)[1]; x.argmax(); x.argmax(1); x.argmin(-1, keepdim=True); i.argmax(0); b.any(); b.all(1)
x.any(-1, keepdim=True); torch.count_nonzero(i); torch.count_nonzero(x, 1); x.var(); x.var(1); x.var(False)
x.var(0, False); x.std(-1, True, True); x.std(dim=1, correction=0); torch.var_mean(x, 1); torch.std_mean(x)
torch.var(x, dim=(0, 1), unbiased=False); x.norm(); x.norm(1, 1); x.norm(p=2, dim=-1, keepdim=True)
torch.linalg.vector_norm(x, 3); torch.linalg.vector_norm(x, float("inf"), 1); F.normalize(x, dim=1)
torch.logsumexp(x, 1); torch.logsumexp(x, -1, True); x.softmax(-1); F.softmax(x, 0)
F.softmax(i, 1, dtype=torch.float32); F.log_softmax(x, 1); F.softmin(x, 1); x.cumsum(1); i.cumsum(-1); x.cumprod(0)
b.cumsum(0); F.softmax(odd, 1); x.reshape(3, -1); x.view(-1); turned.reshape(6, 4); x.view(3, 2); cube.flatten(1)
cube.flatten(-2, -1); scalar.flatten(); x.ravel(); cube.unflatten(1, (3, 1)); x[None].squeeze(); x[:, None].squeeze(1)
x.unsqueeze(-1); x.unsqueeze(-3); cube.permute(2, 0, 1); cube.permute((1, -1, 0)); cube.transpose(0, -1); x.t(); x.T
cube.mT; cube.swapaxes(0, 1); cube.movedim(0, -1); torch.movedim(cube, (0, 1), (2, 0)); x.contiguous()
turned.contiguous(); x.clone(); x.detach(); x.to(torch.float64); x.float(); x.half(); x.long(); i.float(); i.bool()
b.int(); x.double(); x.to("cpu"); x.type(torch.int32); i.type_as(x); h.float(); x.expand(2, 2, 3); x[:1].expand(4, -1)
x.expand_as(cube[..., :3].expand(2, 3, 3)[:, :2]); torch.broadcast_to(scalar, (2, 2)); x.repeat(2, 1)
x.repeat(2, 2, 1); x.tile(2); x.repeat_interleave(2, dim=0); torch.repeat_interleave(x, 2); x.flip(0); x.flip((0, -1))
x.roll(1, 0); torch.roll(x, (1, -1), (0, 1)); x.roll(2); x.narrow(1, 1, 2); x.narrow(0, -1, 1); x.select(1, -1)
x.split(2, 1); cube.split([1, 2], dim=1); x.chunk(2); x.chunk(2, -1); cube.tensor_split(3, 2); x.unbind()
cube.unbind(-1); torch.cat([x, y]); torch.cat((x, i), 1); torch.cat([x, torch.zeros(0)]); torch.cat([x, empty], 0)
torch.stack([x, y]); torch.stack((x, y), -1); torch.stack([x, i], 1); torch.hstack([x, y]); torch.vstack([x, y]); x[0]
x[-1, 1:]; x[:, ::2]; x[..., -1]; x[None, :, 0]; cube[:, 1]; cube[1, :, 2]; x[at % 2]; x[at % 2, at]; cube[:, at[0]]
x[:, torch.tensor([-1, 0])]; x[torch.tensor(1)]; x[1:1]; torch.index_select(x, 1, torch.tensor([2, 0]))
x.gather(1, at); torch.gather(x.T, 0, at % 2); F.embedding(at, y.T); F.one_hot(at, 4); torch.tril(x)
torch.triu(cube, 1); torch.diagonal(x); torch.diagonal(cube, 0, 1, 2); F.pad(x, (1, 2))
F.pad(cube, (0, 1, 2, 0), value=3.0); F.pad(x, (-1, 1)); F.pad(line, (1, 2), mode="reflect")
F.pad(image, (1, 1, 2, 0), mode="replicate"); F.pad(line, (2, 1), mode="circular")
F.pixel_shuffle(torch.cat([image] * 4, 1), 2); F.pixel_unshuffle(image[..., :4, :4], 2)
F.channel_shuffle(torch.cat([image, image], 1), 2); x @ y.T; torch.mm(x, y.T); torch.mv(x, y[0])
torch.dot(x[0], y[0]); torch.matmul(cube, y.T[:, :1].expand(3, 1)[:1].expand(4, 1)); torch.bmm(cube, cube.mT)
x[0] @ y.T; i @ j.T; empty @ y.T; torch.addmm(x[:, :2], x, y.T); torch.addmm(x[:, :2], x, y.T, beta=0.5, alpha=2)
torch.addmm(odd[:, :2], x, y.T, beta=0); torch.baddbmm(cube[:, :, :3], cube, cube.mT); torch.outer(x[0], y[1])
torch.einsum("ij,kj->ik", x, y); torch.einsum("bij,bkj->bik", cube, cube); F.linear(x, y); F.linear(x, y, x[0, :2])
F.linear(x[0], y); F.linear(cube.mT, y); F.linear(empty, y); F.bilinear(x, x, cube[:, :, :3].contiguous(), x[0, :2])
F.relu(x); F.relu(i); F.relu(odd); F.gelu(x); F.gelu(x, approximate="tanh"); F.silu(x); F.mish(x); F.softplus(x * 30)
F.softplus(x, beta=2, threshold=1); F.logsigmoid(x * 20); F.leaky_relu(x, 0.2); F.leaky_relu(odd)
F.prelu(image, y[0, :3]); F.prelu(x, scalar[None]); F.elu(x, 0.5); F.selu(x); F.celu(x, 2.0); F.hardtanh(x, -0.5, 1)
F.relu6(x * 4); F.hardsigmoid(x * 2); F.hardswish(x * 2); F.hardshrink(x); F.softshrink(x, 0.7)
F.threshold(x, 0.1, 20); F.glu(cube); F.glu(cube, -1); F.softsign(x); F.tanhshrink(x); F.rrelu(x)
F.dropout(x, 0.5, training=False); F.conv2d(image, w2); F.conv2d(image, w2, y[:, 0].repeat(2), stride=2, padding=1)
F.conv2d(image, w2[:3, :1], groups=3, padding=(1, 0)); F.conv2d(image, w2, dilation=2)
F.conv2d(image, w2, padding="same"); F.conv2d(image[0], w2, padding="valid"); F.conv1d(line, w1, padding=2)
F.conv1d(line[0], w1); F.conv3d(box, w3, stride=2)
F.conv_transpose2d(image, w2[:3], stride=2, padding=1, output_padding=1)
F.conv_transpose1d(line, w1.permute(1, 0, 2), y[:, 0], stride=3); F.conv_transpose3d(box, w3)
F.conv_transpose2d(image, w2[:3, :1], groups=3, dilation=2); F.max_pool2d(image, 2)
F.max_pool2d(image, 3, stride=1, padding=1); F.max_pool2d(image, 2, ceil_mode=True); F.max_pool1d(line, 2)
F.max_pool1d(line[0], 3, 1); F.max_pool3d(box, 2); F.avg_pool2d(image, 2)
F.avg_pool2d(image, 3, 2, 1, ceil_mode=True); F.avg_pool2d(image, 3, 2, 1, count_include_pad=False)
F.avg_pool2d(image, 2, divisor_override=3); F.avg_pool1d(line, 2, padding=1); F.avg_pool3d(box, 2)
F.adaptive_avg_pool2d(image, 1); F.adaptive_avg_pool2d(image, (2, 3)); F.adaptive_avg_pool1d(line, 3)
F.adaptive_avg_pool3d(box, 2); F.adaptive_max_pool2d(image, 2); F.adaptive_max_pool1d(line, 2)
F.lp_pool2d(image.abs(), 2, 2); F.interpolate(image, scale_factor=2)
F.interpolate(line, scale_factor=3, mode="nearest"); F.layer_norm(x, (3,))
F.layer_norm(cube, (3, 4), cube[0], cube[1]); F.layer_norm(x, (3,), y[0]); F.rms_norm(x, (3,))
F.rms_norm(cube, (4,), cube[0, 0], 1e-3); F.batch_norm(image, y[0].abs(), y[1].abs(), y[0], y[1])
F.batch_norm(x, y[0].abs(), y[1].abs()); F.batch_norm(line, None, None, training=True)
F.group_norm(cube[:, :, None], 3, y[0], y[1]); F.group_norm(torch.cat([image, image], 1), 2)
F.instance_norm(image, weight=y[0], bias=y[1]); F.instance_norm(line); F.local_response_norm(image, 2)
F.scaled_dot_product_attention(q, k, v); F.scaled_dot_product_attention(q, k, v, is_causal=True)
F.scaled_dot_product_attention(q, k, v, b[:, None, None].expand(2, 1, 3, 3) | True)
F.scaled_dot_product_attention(q, k, v, torch.ones(3, 3).tril().bool())
F.scaled_dot_product_attention(q, k, v, torch.zeros(3, 3, dtype=torch.bool))
F.scaled_dot_product_attention(q, k, v, torch.zeros(1, 3) - 1, scale=0.3); x.new_zeros(2, 3) + x
torch.zeros_like(x) + x; torch.ones(3) * x; torch.arange(3) * x; torch.full((2, 1), 2) + x; torch.eye(3) @ x.T
torch.tensor([1.0, 2.0, 3.0]) - x; torch.linspace(0, 1, 3) * x; len(x) * x; x.size(-1) + x; x * x.dim()
x.view(x.size(0), -1); [row * 2 for row in x]; x.numel() - x; sum(r.sum() for r in x.split(1))
torch.squeeze(x[:1], 0); torch.swapaxes(x, 0, 1); F.mse_loss(x, y); F.l1_loss(x, y); F.cosine_similarity(x, y)
F.pairwise_distance(x, y); x.square().sum().sqrt(); torch.outer(x[0], i[0]); F.smooth_l1_loss(x, y)
F.smooth_l1_loss(x, y, beta=0.5, reduction="sum"); F.smooth_l1_loss(x, y, beta=0.0, reduction="none")
F.huber_loss(x, y, delta=2.0); F.soft_margin_loss(x, y.sign())
F.kl_div(x.log_softmax(1), y.softmax(1), reduction="batchmean")
F.kl_div(x, y.relu(), reduction="sum"); F.kl_div(x, y, log_target=True, reduction="batchmean")
F.poisson_nll_loss(x, i.abs()); F.poisson_nll_loss(x.abs(), y.abs(), log_input=False, full=True, reduction="sum")
F.binary_cross_entropy(x.sigmoid(), b.float()); F.binary_cross_entropy(b.float(), y.sigmoid(), reduction="none")
F.binary_cross_entropy(x.sigmoid(), y.sigmoid(), weight=y[0], reduction="sum")
F.binary_cross_entropy_with_logits(x * 30, b.float(), reduction="none")
F.binary_cross_entropy_with_logits(x, y.sigmoid(), weight=x, pos_weight=y[1])
F.cross_entropy(x, label); F.cross_entropy(x, label, weight=y[0].abs(), reduction="sum"); F.cross_entropy(x[0], label[0])
F.cross_entropy(x, label, ignore_index=2, reduction="none"); F.cross_entropy(x, label, ignore_index=2)
F.cross_entropy(x, label * 0 - 100); F.cross_entropy(x, label, label_smoothing=0.2)
F.cross_entropy(x, label, y[0].abs(), label_smoothing=0.2, ignore_index=0)
F.cross_entropy(x, label, y[0].abs(), label_smoothing=0.2, ignore_index=0, reduction="none")
F.cross_entropy(cube, at[:, :1].expand(2, 4)); F.cross_entropy(cube, at[:, :1].expand(2, 4), label_smoothing=0.1)
F.cross_entropy(x, y.softmax(1)); F.cross_entropy(x, y.softmax(1), weight=y[1].abs(), label_smoothing=0.3)
F.cross_entropy(cube, cube.softmax(1), reduction="none"); F.nll_loss(x, label); F.nll_loss(cube, at[:, :1].expand(2, 4))
F.nll_loss(x, label, y[0], reduction="none"); F.nll_loss(odd, label * 0, ignore_index=0, reduction="sum")
F.multi_margin_loss(x, label); F.multi_margin_loss(x, label, p=2, margin=0.5, weight=y[1], reduction="none")
F.multilabel_margin_loss(x, torch.tensor([[2, -1, 0], [1, 0, 2]]))
F.multilabel_margin_loss(x[0], label[torch.tensor([0, 0, 1])])
F.multilabel_margin_loss(x, label[:, None].expand(2, 3) * 0 - 1, reduction="none"); F.multilabel_soft_margin_loss(x, b * 1.0)
F.hinge_embedding_loss(x, y.sign()); F.hinge_embedding_loss(x, b * 2 - 1, margin=0.5, reduction="sum")
F.margin_ranking_loss(x, y, y.sign(), 0.25); F.margin_ranking_loss(x, y, i.sign()); F.cosine_embedding_loss(x, y, label - 1)
F.cosine_embedding_loss(x[0], y[0], whole - 2, margin=0.1); F.triplet_margin_loss(x, y, x * y)
F.triplet_margin_loss(x, y, x * y, swap=True, margin=2.0, reduction="none"); F.gaussian_nll_loss(x, y, x.abs())
x.sort(); x.sort(0, descending=True); odd.sort(1); odd.sort(1, descending=True); torch.sort(i, stable=True, dim=-1)
torch.sort(ties, descending=True, stable=True); torch.sort(ties, stable=True); small.sort(descending=True)
x.argsort(); torch.argsort(ties, dim=0, descending=True, stable=True); torch.msort(y); x.topk(2)
torch.topk(y, 2, 0, largest=False)
cube.topk(1, 1).values; torch.kthvalue(x, 2); torch.kthvalue(x, 1, 0, keepdim=True); x.scatter(1, at, y)
x.scatter(1, at[:, :1], 9.0); torch.scatter(x, 0, at % 2, y); x.scatter_add(1, at, y); i.scatter_add(0, at[:1] % 2, j)
x.scatter_reduce(1, at, y, "sum"); x.clone().scatter_(1, at, y); x.clone().scatter_add_(0, at % 2, y)
x.index_add(1, label, y[:, :2]); x.index_add(0, label * 0, y, alpha=2); x.index_copy(0, label // 2, y)
x.index_fill(1, label, -1.0); torch.take(x, at); torch.take(x, -at); x.take_along_dim(at, 1); x.gather(1, at[:1])
cube.gather(2, at[:, None].expand(2, 3, 2)); cube.gather(0, at[:1, :, None] % 2); torch.trace(x); torch.diag(x)
torch.diag(x[0], 1); x.fliplr(); x.flipud(); torch.diff(x); torch.diff(i, 2, dim=-1)
torch.meshgrid(x[0], y[1], indexing="ij")
torch.meshgrid(x[0], y[:, 1], indexing="xy"); torch.logaddexp(x, y); torch.xlogy(b * 1.0, odd); torch.xlogy(x, 2.0)
torch.logit(x.sigmoid()); torch.logit(x, eps=0.1); torch.isclose(x, y); torch.isclose(odd, odd, equal_nan=True)
torch.aminmax(x, dim=1); torch.nansum(odd[:1, :2]); odd.nanmean(0); scalar.softmax(0); scalar.log_softmax(-1)
F.prelu(scalar, y[0, :1]); F.one_hot(label, 3); F.interpolate(image, size=(7, 3), mode="bilinear")
F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=True); F.interpolate(line, 9, mode="linear")
F.interpolate(image, scale_factor=(1.7, 0.6), mode="bilinear"); F.interpolate(box, scale_factor=1.5, mode="trilinear")
F.interpolate(image, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True)
"""
EXPRESSIONS = [one.strip() for line_ in CASES.strip().splitlines() for one in line_.split(";")]

# What rules leave to torch: the call is not compiled, and right.
LEFT = """
x[b]; x[[0, 1]]; torch.special.i0(x); torch.mode(x); x.masked_select(b); torch.cummax(x, 1)
F.max_pool2d(image, 2, return_indices=True); F.one_hot(at); F.dropout(x, 0.5); x.to(torch.bfloat16)
torch.div(i, j, rounding_mode="trunc"); x.unique(); torch.fft.fft(x); x.to(torch.complex64); x.nonzero()
x.view(torch.int32)
"""
LEFT_EXPRESSIONS = [one.strip() for line_ in LEFT.strip().splitlines() for one in line_.split(";")]


def followed(expression: str) -> tuple[Following, Any, Any]:
    """An expression over the tensors above as torch computes it, and followed: both results."""
    words = re.findall(r"\w+", expression)
    names = {
        name: value for name, value in globals().items() if name in words and isinstance(value, torch.Tensor)
    }
    helpers = {"torch": torch, "F": F, "nn": nn, "sum": sum, "abs": abs, "len": len}
    with torch.no_grad():
        expected = eval(expression, {**names, **helpers})
        following = Following(missing={})
        given = {
            name: following.argument(tensors.plain_array(value.clone())) for name, value in names.items()
        }
        with following:
            result = eval(expression, {**given, **helpers})
    return following, expected, result


@pytest.mark.spread(12)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_rule_gives_what_torch_gives(expression: str) -> None:
    following, expected, result = followed(expression)
    assert not following.missing
    assert following.problems == []
    pairs = list(zip(tensors.tensors_in(expected), tensors.tensors_in(result), strict=True))
    assert pairs
    for one, other in pairs:
        array = following.result(other)
        assert array.shape == tuple(one.shape)
        assert array.dtype == str(one.dtype).removeprefix("torch.")
        assert is_close(array.asnumpy(), one.numpy(), TOLERANCES)


REFUSED: dict[str, tuple[Any, Any, Any]] = {
    "embedding": (lambda n: F.embedding(n, y.T), label, label - 1),
    "gather": (lambda n: x.gather(1, n), at, at - 1),
    "index_select": (lambda n: x.index_select(1, n), label, label + 1),
    "scatter": (lambda n: x.scatter(1, n, y), at, at - 1),
    "one_hot": (lambda n: F.one_hot(n, 3), label, label - 1),
    "cross_entropy": (lambda n: F.cross_entropy(x, n), label, label - 1),
    "nll_loss": (lambda n: F.nll_loss(x, n), label, label + 1),
    "binary_cross_entropy": (lambda p: F.binary_cross_entropy(p, b * 1.0), y.sigmoid(), x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_torch_refuses_is_refused_by_programs(name: str) -> None:
    function, good, bad = REFUSED[name]
    module = nn.Module()
    module.forward = function
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(net(good), function(good))
        assert ": compiled" in net.explain()
        with pytest.raises((IndexError, RuntimeError)) as theirs:
            function(bad)
        with pytest.raises(theirs.type, match=re.escape(str(theirs.value))):
            net(bad)
        torch.testing.assert_close(net(good), function(good))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, n: F.cross_entropy(x, n),
        lambda x, n: x.scatter_add(1, n[:, None], x),
        lambda x, n: x.sort(1, descending=True).values + x.topk(2).values.sum(1, keepdim=True),
        lambda x, n: torch.zeros(3, 3).index_add(0, n, x),
        lambda x, n: x.argsort(0, descending=True) + n[:, None],
        lambda x, n: (x.topk(2).indices, x.sort(descending=True)[1], x.flip(0)),
        lambda x, n: x.sort(0, descending=True).values + F.one_hot(n, 3),
    ],
)
def test_rules_hold_for_batches_of_any_size(function: Any) -> None:
    module = nn.Module()
    module.forward = function
    net = blockfuse.compile(module, threads=1)
    with torch.no_grad():
        for count in (2, 3, 5, 2, 9):
            given = torch.rand(count, 3), torch.arange(count) % 3
            torch.testing.assert_close(net(*given), function(*given))
    assert ": compiled" in net.explain()


@pytest.mark.spread(5)
@pytest.mark.parametrize("expression", LEFT_EXPRESSIONS)
def test_what_has_no_rule_is_noticed(expression: str) -> None:
    following, _, _ = followed(expression)
    assert following.missing or following.problems
