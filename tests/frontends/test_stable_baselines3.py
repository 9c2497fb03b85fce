"""Policies of stable-baselines3: actions, draws and errors are its own, and whatever changes a policy is seen."""

from __future__ import annotations

import copy
import pickle
import random
import re
import threading
import timeit
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3", minversion="2.3")
gymnasium = pytest.importorskip("gymnasium")

from gymnasium import spaces  # noqa: E402
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3  # noqa: E402
from stable_baselines3.common.evaluation import evaluate_policy  # noqa: E402
from stable_baselines3.common.policies import ActorCriticPolicy  # noqa: E402
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor  # noqa: E402
from stable_baselines3.dqn.policies import QNetwork  # noqa: E402

import blockfuse  # noqa: E402
from blockfuse.ir.errors import CompilerWarning  # noqa: E402

torch.set_num_threads(1)

NUMBERS = spaces.Box(-5, 5, (4,), numpy.float32)
PICTURE = spaces.Box(0, 255, (1, 36, 36), numpy.uint8)
STEERING = spaces.Box(numpy.float32([-1, -0.25, 0]), numpy.float32([2, 0.25, 1]))
OBSERVED = {
    "numbers": NUMBERS,
    "double": spaces.Box(-5, 5, (2, 3), numpy.float64),
    "one of some": spaces.Discrete(5),
    "one of several": spaces.MultiDiscrete([3, 2, 4]),
    "bits": spaces.MultiBinary(6),
    "parts": spaces.Dict(place=NUMBERS, room=spaces.Discrete(3), flags=spaces.MultiBinary(2)),
}
ACTED = {
    "steering": STEERING,
    "double": spaces.Box(-1, 1, (2, 2), numpy.float64),
    "one of some": spaces.Discrete(4),
    "one of several": spaces.MultiDiscrete([3, 2]),
    "bits": spaces.MultiBinary(3),
}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(random.randrange(1 << 31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of stable-baselines3 about spaces
        warnings.simplefilter("error", CompilerWarning)
        yield


class Room(gymnasium.Env):
    """An environment of nothing but spaces."""

    def __init__(self, observed: Any, acted: Any) -> None:
        self.observation_space, self.action_space = copy.deepcopy((observed, acted))
        self.observation_space.seed(3)

    def reset(self, **_: Any) -> Any:
        return self.observation_space.sample(), {}

    def step(self, _: Any) -> Any:
        return self.observation_space.sample(), 1.0, False, random.random() < 0.2, {}


def made(algorithm: Any, observed: Any = NUMBERS, acted: Any = STEERING, **options: Any) -> Any:
    """An algorithm whose weights are larger than those it starts with, so that actions differ."""
    policy = "MultiInputPolicy" if isinstance(observed, spaces.Dict) else "MlpPolicy"
    if algorithm in (DDPG, DQN, SAC, TD3):
        options = {"buffer_size": 50, "learning_starts": 4, **options}
    else:
        options = {"n_steps": 8, **options}
    options.setdefault("policy_kwargs", {}).setdefault("net_arch", [8])
    if algorithm is PPO:
        options = {"batch_size": 8, "n_epochs": 1, **options}
    model = algorithm(options.pop("policy", policy), Room(observed, acted), device="cpu", **options)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def sampled(space: Any, count: int | None = None) -> Any:
    """One observation, or several with an axis in front."""
    if count is None:
        return space.sample()
    every = [space.sample() for _ in range(count)]
    if isinstance(space, spaces.Dict):
        return {key: numpy.stack([one[key] for one in every]) for key in space.spaces}
    return numpy.stack(every)


def answer(predict: Callable[..., Any], observation: Any, deterministic: bool = True) -> Any:
    """What ``predict`` gives, or its error, and what random numbers come next."""
    torch.manual_seed(5)
    numpy.random.seed(5)  # noqa: NPY002 - what DQN explores by
    try:
        return predict(observation, deterministic=deterministic)[0], torch.rand(()).item()
    except Exception as error:
        return type(error), str(error)


def holds(net: Any, model: Any, observation: Any, deterministic: bool = True) -> None:
    """A compiled ``predict`` answers as the model does."""
    found, expected = (
        answer(net.predict, observation, deterministic),
        answer(model.predict, observation, deterministic),
    )
    if isinstance(expected[0], type):
        assert found == expected
        return
    assert (found[0].dtype, found[0].shape, found[1]) == (expected[0].dtype, expected[0].shape, expected[1])
    assert type(found[0]) is type(expected[0])
    assert found[0].flags.writeable
    numpy.testing.assert_allclose(found[0], expected[0], 1e-4, 1e-5)


def holds_often(net: Any, model: Any, space: Any) -> None:
    """One, several and many, the likeliest and drawn ones, from programs."""
    for deterministic, counts in ((True, (None, None, 3, 3, 5)), (False, (None, None, 2))):
        for count in counts:
            holds(net, model, sampled(space, count), deterministic)
    assert "in stable-baselines3" not in net.explain(), net.explain()
    assert "eager, " not in net.explain(), net.explain()


def holds_once_more(net: Any, model: Any) -> None:
    """One observation of numbers, also from the program that its first call may make."""
    holds(net, model, sampled(NUMBERS))
    holds(net, model, sampled(NUMBERS))
    assert "in stable-baselines3" not in net.explain(), net.explain()


# -- the table -----------------------------------------------------------------------------------------------


@pytest.mark.spread(3)
@pytest.mark.parametrize("observed", OBSERVED)
def test_every_kind_of_observation(observed: str) -> None:
    model = made(PPO, OBSERVED[observed])
    net = blockfuse.compile(model, threads=1)
    holds_often(net, model, model.observation_space)
    assert blockfuse.missing(model) == ()


@pytest.mark.spread(3)
@pytest.mark.parametrize("acted", ACTED)
def test_every_kind_of_action(acted: str) -> None:
    model = made(A2C, acted=ACTED[acted])
    holds_often(blockfuse.compile(model, threads=1), model, NUMBERS)


@pytest.mark.spread(3)
@pytest.mark.parametrize("algorithm", [SAC, TD3, DDPG])
def test_algorithms_of_continuous_actions(algorithm: Any) -> None:
    model = made(algorithm)
    holds_often(blockfuse.compile(model, threads=1), model, NUMBERS)


def test_exploration_of_dqn_is_its_own() -> None:
    model = made(DQN, acted=spaces.Discrete(4))
    model.exploration_rate = 0.5
    net = blockfuse.compile(model, threads=1)
    for seed in range(20):
        for observation in (sampled(NUMBERS), sampled(NUMBERS, 3)):
            results = []
            for one in (net, model):
                numpy.random.seed(seed)  # noqa: NPY002
                model.action_space.seed(seed)
                results.append(one.predict(observation)[0])
            assert results[0].tolist() == results[1].tolist()
    net.exploration_rate = 0.0
    assert model.exploration_rate == 0.0
    holds_often(net, model, NUMBERS)


def test_pictures_are_scaled_and_turned() -> None:
    model = made(PPO, PICTURE, spaces.Discrete(3), policy="CnnPolicy")
    net = blockfuse.compile(model, threads=1)
    holds_often(net, model, PICTURE)
    holds(net, model, sampled(PICTURE).transpose(1, 2, 0))
    holds(net, model, sampled(PICTURE, 2).transpose(0, 2, 3, 1))
    assert "in stable-baselines3" not in net.explain()


def test_a_policy_without_its_algorithm() -> None:
    model = made(SAC)
    net = blockfuse.compile(model.policy, threads=1)
    holds_often(net, model.policy, NUMBERS)
    assert net.squash_output is True
    assert repr(net).startswith("compiled(SACPolicy(")


def test_layers_may_be_the_users() -> None:
    class Extractor(BaseFeaturesExtractor):
        """What users write, with what does something else in training."""

        def __init__(self, space: Any) -> None:
            super().__init__(space, 12)
            self.net = torch.nn.Sequential(
                torch.nn.Linear(4, 6), torch.nn.LayerNorm(6), torch.nn.GELU(), torch.nn.Dropout(0.5)
            )
            self.norm = torch.nn.BatchNorm1d(6)

        def forward(self, x: Any) -> Any:
            y = self.norm(self.net(x))
            while y.abs().sum() > 100:
                y = y / 2
            return torch.cat([y, torch.sin(y)], dim=1)

    class Trunk(torch.nn.Module):
        """Layers that the policy and its critic share."""

        latent_dim_pi = latent_dim_vf = 5

        def __init__(self) -> None:
            super().__init__()
            self.shared = torch.nn.Linear(12, 5)

        def forward(self, x: Any) -> Any:
            return self.forward_actor(x), self.forward_critic(x)

        def forward_actor(self, x: Any) -> Any:
            return torch.nn.functional.silu(self.shared(x))

        def forward_critic(self, x: Any) -> Any:
            return self.shared(x)

    class Policy(ActorCriticPolicy):
        """What the documentation of stable-baselines3 shows."""

        def _build_mlp_extractor(self) -> None:
            self.mlp_extractor = Trunk()

    model = made(PPO, policy=Policy, policy_kwargs={"features_extractor_class": Extractor})
    net = blockfuse.compile(model, threads=1)
    holds_often(net, model, NUMBERS)
    model.policy.features_extractor.train()  # alone: predict ends that
    holds(net, model, sampled(NUMBERS))
    assert not model.policy.features_extractor.net.training


# -- what changes a policy -----------------------------------------------------------------------------------


def test_writes_to_weights_are_seen() -> None:
    model = made(PPO)
    net = blockfuse.compile(model, threads=1)
    holds_once_more(net, model)
    before = net.predict(numpy.ones(4, "float32"), deterministic=True)[0]
    model.policy.action_net.weight.data.mul_(-0.5)
    model.policy.mlp_extractor.policy_net[0].bias.detach().numpy()[:] = 0.25
    holds_once_more(net, model)
    assert not numpy.allclose(net.predict(numpy.ones(4, "float32"), deterministic=True)[0], before)
    state = {name: value * 0.5 for name, value in model.policy.state_dict().items()}
    model.policy.load_state_dict(state)
    holds_once_more(net, model)


def test_bounds_of_actions_are_read_anew() -> None:
    model = made(PPO)
    net = blockfuse.compile(model, threads=1)
    holds_once_more(net, model)
    model.policy.action_space.low[:], model.policy.action_space.high[:] = -0.01, 0.01
    holds_once_more(net, model)
    model.policy.action_space = spaces.Box(3, 4, (3,), numpy.float32)
    holds_once_more(net, model)


@pytest.mark.parametrize("algorithm", [PPO, TD3])
def test_learning_is_seen(algorithm: Any) -> None:
    model = made(algorithm)
    net = blockfuse.compile(model, threads=1)
    holds_once_more(net, model)
    before = net.predict(numpy.ones(4, "float32"), deterministic=True)[0]
    net.learn(16)
    assert not numpy.array_equal(net.predict(numpy.ones(4, "float32"), deterministic=True)[0], before)
    model.policy.set_training_mode(True)
    holds_once_more(net, model)


def test_layers_and_policies_may_be_exchanged() -> None:
    model = made(A2C)
    net = blockfuse.compile(model, threads=1)
    holds_once_more(net, model)
    model.policy.action_net = torch.nn.Linear(8, 3).eval()
    holds_once_more(net, model)
    model.policy.mlp_extractor.policy_net[0] = torch.nn.Linear(4, 8, bias=False).eval()
    holds_once_more(net, model)
    model.policy.mlp_extractor.policy_net[1] = torch.nn.ReLU().eval()
    holds_once_more(net, model)
    net.policy = made(A2C).policy
    holds_once_more(net, model)


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_calls_of_the_library_in_between_change_nothing(algorithm: Any) -> None:
    model = made(algorithm)
    net = blockfuse.compile(model, threads=1)
    for _ in range(2):
        holds(net, model, sampled(NUMBERS))  # the first meets functions of torch's that were not seen before
    recordings = re.findall(r"\d+ recordings", net.explain())
    for _ in range(3):
        holds(net, model, sampled(NUMBERS))
    assert re.findall(r"\d+ recordings", net.explain()) == recordings


# -- what stable-baselines3 computes itself ------------------------------------------------------------------


@pytest.mark.parametrize(
    "observation",
    [
        numpy.zeros(5, "float32"),
        numpy.zeros((2, 2, 4), "float32"),
        numpy.zeros((0, 4), "float32"),
        numpy.full(4, numpy.nan, "float32"),
        numpy.float32([1, 2, numpy.inf, 0]),
        numpy.array(["a"] * 4),
        numpy.zeros(4, object),
        numpy.ma.zeros(4),
        (numpy.zeros(4), {}),
        {"place": numpy.zeros(4)},
        [1.0, 2.0, 3.0, 4.0],
        [[1, 2, 3, 4]],
        numpy.arange(4),
        numpy.arange(4, dtype="uint8"),
        numpy.arange(16.0)[::-4],
        None,
    ],
)
@pytest.mark.parametrize("algorithm", [PPO, TD3])
def test_odd_observations_are_answered_alike(algorithm: Any, observation: Any, known: dict[Any, Any]) -> None:
    if algorithm not in known:
        known[algorithm] = made(algorithm)
    model = known[algorithm]
    net = blockfuse.compile(model, threads=1)
    with numpy.errstate(all="ignore"):
        for _ in range(2):
            holds(net, model, observation)


@pytest.fixture(scope="module")
def known() -> dict[Any, Any]:
    return {}


def test_integers_of_python_and_those_outside() -> None:
    model = made(PPO, spaces.Discrete(5), spaces.Discrete(3))
    net = blockfuse.compile(model, threads=1)
    for observation in (2, numpy.int64(4), numpy.int32(1), 0):
        for deterministic in (True, False):
            holds(net, model, observation, deterministic)
    assert "in stable-baselines3" not in net.explain()
    for observation in (5, -1, 2.0, numpy.array([1, 7])):
        holds(net, model, observation)
    assert "outside of its space" in net.explain()


@pytest.mark.spread(3)
@pytest.mark.parametrize("acted", ["steering", "one of some", "one of several", "bits"])
@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf])
def test_parameters_that_distributions_refuse(acted: str, bad: float) -> None:
    model = made(PPO, acted=ACTED[acted])
    net = blockfuse.compile(model, threads=1)
    holds_once_more(net, model)
    model.policy.action_net.bias.data[0] = bad
    observation = sampled(NUMBERS)
    for deterministic in (True, False):
        theirs = answer(model.predict, observation, deterministic)
        ours = answer(net.predict, observation, deterministic)
        if isinstance(theirs[0], type):
            assert ours == theirs
        else:
            numpy.testing.assert_allclose(ours[0], theirs[0], 1e-4, 1e-5)


def test_a_deviation_of_zero_is_refused() -> None:
    model = made(PPO)
    net = blockfuse.compile(model, threads=1)
    holds(net, model, sampled(NUMBERS))
    model.policy.log_std.data[0] = -1000.0
    assert answer(net.predict, sampled(NUMBERS))[0] is ValueError
    holds(net, model, sampled(NUMBERS))


def test_policies_with_other_methods_run_as_they_are() -> None:
    class Still(ActorCriticPolicy):
        """A policy that computes something else."""

        def _predict(self, observation: Any, **_: Any) -> Any:
            return torch.full((len(observation), 3), 0.125)

    model = made(PPO, policy=Still)
    net = blockfuse.compile(model)
    assert net.predict(sampled(NUMBERS))[0].tolist() == [0.125] * 3
    assert "Still has a _predict of its own" in net.explain()
    (reason,) = blockfuse.missing(model)
    assert reason.startswith("Still: ")


def test_parts_of_another_class_are_seen() -> None:
    class Opposite(QNetwork):
        """Values of a user's own."""

        def forward(self, obs: Any) -> Any:
            return -super().forward(obs)

    model = made(DQN, acted=spaces.Discrete(4))
    net = blockfuse.compile(model, threads=1)
    observation = sampled(NUMBERS)
    for _ in range(3):
        holds(net, model, observation)
    model.policy.q_net.__class__ = Opposite
    holds(net, model, observation)
    assert "has a forward of its own" in net.explain()


def test_draws_go_on_where_nothing_is_checked() -> None:
    model = made(PPO)
    net = blockfuse.compile(model, threads=1, check=False)
    observation = sampled(NUMBERS)
    results = []
    for one in (net, model):
        torch.manual_seed(3)
        results.append([one.predict(observation)[0] for _ in range(4)])
    numpy.testing.assert_allclose(*results, 1e-4, 1e-5)


def test_methods_and_hooks_that_come_later_are_seen() -> None:
    model = made(DQN, acted=spaces.Discrete(4))
    net = blockfuse.compile(model, threads=1)
    observation = sampled(NUMBERS)
    for _ in range(3):
        holds(net, model, observation)
    hook = model.policy.q_net.register_forward_hook(lambda module, given, result: -result)
    holds(net, model, observation)
    assert "hooks of its q_net" in net.explain()
    hook.remove()
    hook = model.policy.q_net.q_net.register_forward_hook(lambda module, given, result: -result)
    holds(net, model, observation)
    hook.remove()
    model.policy._predict = lambda observation, deterministic: torch.ones(1, dtype=torch.int64)
    holds(net, model, observation)
    del model.policy._predict
    model.predict = lambda observation, *_, **__: (numpy.array(3), None)
    holds(net, model, observation)


def test_exploration_that_depends_on_the_state_has_no_rule() -> None:
    model = made(SAC, use_sde=True)
    (reason,) = blockfuse.missing(model)
    assert "StateDependentNoiseDistribution" in reason
    net = blockfuse.compile(model)
    holds(net, model, sampled(NUMBERS))
    holds(net, model, sampled(NUMBERS), deterministic=False)


def test_layers_that_cannot_be_compiled_cost_some_tries_only() -> None:
    class Strange(BaseFeaturesExtractor):
        """Calls what has no rule."""

        def forward(self, x: Any) -> Any:
            return torch.sinc(x) * x

    model = made(
        PPO,
        policy_kwargs={"features_extractor_class": Strange, "features_extractor_kwargs": {"features_dim": 4}},
    )
    net = blockfuse.compile(model)
    for _ in range(40):
        holds(net, model, sampled(NUMBERS))
    assert "its layers cannot be compiled" in net.explain()
    assert "sinc" in net.explain()


def test_autocast_is_left_to_torch() -> None:
    model = made(PPO)
    net = blockfuse.compile(model, threads=1)
    observation = sampled(NUMBERS, 3)
    holds(net, model, observation)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert answer(net.predict, observation) == answer(model.predict, observation)  # NumPy has no bfloat16
    assert "autocast is on" in net.explain()


def test_another_version_that_computes_something_else_is_noticed(monkeypatch: Any) -> None:
    model = made(PPO)
    true_predict = ActorCriticPolicy._predict
    monkeypatch.setattr(
        ActorCriticPolicy,
        "_predict",
        lambda self, *given, **options: true_predict(self, *given, **options) * 0.5,
    )
    net = blockfuse.compile(model, threads=1)
    observation = numpy.full(4, 0.1, "float32")
    with pytest.warns(CompilerWarning, match="something else here than the rule says"):
        first = net.predict(observation, deterministic=True)[0]
    for found in (first, net.predict(observation, deterministic=True)[0]):
        assert numpy.array_equal(found, model.predict(observation, deterministic=True)[0])


# -- what nets are for ---------------------------------------------------------------------------------------


def test_nets_are_copied_and_pickled() -> None:
    model = made(SAC)
    net = blockfuse.compile(model.policy, threads=1)
    holds(net, model, sampled(NUMBERS))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        holds(twin, model, sampled(NUMBERS))
        twin.actor.mu.bias.data.add_(1.0)
    holds(net, model, sampled(NUMBERS))


def test_state_is_given_back_and_more_arguments_are_refused_alike() -> None:
    model = made(PPO)
    net = blockfuse.compile(model)
    state = (numpy.ones(2),)
    assert net.predict(sampled(NUMBERS), state, None, True)[1] is state
    with pytest.raises(TypeError, match="unexpected keyword argument 'action_masks'"):
        net.policy.predict(sampled(NUMBERS), action_masks=None)
    with pytest.raises(TypeError, match="no option 'weights'"):
        blockfuse.compile(model, weights="frozen")


def test_threads_share_a_net() -> None:
    model = made(TD3)
    net = blockfuse.compile(model, threads=1)
    observations = [sampled(NUMBERS, 1 + n % 3) for n in range(12)]
    expected = [model.predict(o, deterministic=True)[0] for o in observations]
    problems: list[Any] = []

    def work() -> None:
        for observation, value in zip(observations * 5, expected * 5, strict=True):
            found = net.predict(observation, deterministic=True)[0]
            if not numpy.allclose(found, value, 1e-4, 1e-5):
                problems.append((found, value))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_evaluation_takes_a_net() -> None:
    model = made(PPO)
    net = blockfuse.compile(model, threads=1)
    mean, _ = evaluate_policy(net, model.get_env(), n_eval_episodes=2, warn=False)
    assert mean > 0
    assert "compiled" in net.explain()


def test_explain_before_any_call() -> None:
    assert blockfuse.compile(made(PPO)).explain() == "nothing was called yet"


@pytest.mark.alone
def test_one_observation_takes_a_fraction_of_the_time() -> None:
    model = made(PPO)
    net = blockfuse.compile(model, threads=1)
    observation = sampled(NUMBERS)
    for _ in range(20):
        net.predict(observation, deterministic=True)
    ours = min(timeit.repeat(lambda: net.predict(observation, deterministic=True), number=50, repeat=10))
    theirs = (
        min(timeit.repeat(lambda: model.predict(observation, deterministic=True), number=20, repeat=5)) * 2.5
    )
    assert ours < theirs / 3
