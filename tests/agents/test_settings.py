import dataclasses
import subprocess
import sys

import pytest

from corral.agents.settings import (
    ActorCriticSettings,
    AgentSettings,
    DDPGSettings,
    DQNSettings,
    NetworkSettings,
    OptimizerSettings,
    PPOSettings,
    R2D2Settings,
    SACSettings,
    TD3Settings,
    VTraceSettings,
)


def test_defaults_are_valid_and_frozen():
    settings = AgentSettings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.discount = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "key", "value"),
    [
        (lambda: AgentSettings(discount=1.5), "discount", "1.5"),
        (lambda: ActorCriticSettings(lambda_=-0.5), "lambda_", "-0.5"),
        (lambda: AgentSettings(unroll_length=0), "unroll_length", "0"),
        (lambda: ActorCriticSettings(entropy_cost=-1.0), "entropy_cost", "-1.0"),
        (lambda: AgentSettings(reward_clip=float("nan")), "reward_clip", "nan"),
        (lambda: AgentSettings(reward_scale=0.0), "reward_scale", "0.0"),
        (lambda: VTraceSettings(clip_rho=0.0), "clip_rho", "0.0"),
        (lambda: VTraceSettings(clip_rho=1.0, clip_c=2.0), "clip_c", "2.0"),
        (lambda: AgentSettings(name="sarsa"), "name", "'sarsa'"),
        (lambda: AgentSettings(ppo=PPOSettings(clip=0.1)), "ppo", "ppo; this agent's name is 'vtrace'"),
        (lambda: PPOSettings(epochs=0), "epochs", "0"),
        (lambda: DQNSettings(n_step=0), "n_step", "0"),
        (lambda: R2D2Settings(priority_max=1.5), "priority_max", "1.5"),
        (lambda: DDPGSettings(noise="pink"), "noise", "'pink'"),
        (lambda: TD3Settings(delay=0), "delay", "0"),
        (lambda: SACSettings(initial_temperature=0.0), "initial_temperature", "0.0"),
        (lambda: NetworkSettings(hidden=(64, 0)), "hidden", "[64, 0]"),
        (lambda: NetworkSettings(activation=""), "activation", ""),
        (lambda: NetworkSettings(build="nets"), "build", 'must be "module:function", such as my_networks:build'),
        (lambda: NetworkSettings(build=":build"), "build", "':build'"),
        (lambda: NetworkSettings(build="nets:"), "build", "'nets:'"),
        (lambda: NetworkSettings(build="nets.py:build x"), "build", "'nets.py:build x'"),
        (lambda: NetworkSettings(build="../nets:build"), "build", "'../nets:build'"),
        (lambda: OptimizerSettings(name="lion"), "name", "lion"),
        (lambda: OptimizerSettings(learning_rate=0.0), "learning_rate", "0.0"),
        (lambda: OptimizerSettings(decay_steps=-1), "decay_steps", "-1"),
        (lambda: OptimizerSettings(clip_norm=float("inf")), "clip_norm", "inf"),
    ],
)
def test_a_bad_value_is_named_with_its_key(make, key, value):
    with pytest.raises(ValueError, match=key) as error:
        make()
    assert value in str(error.value)


def test_settings_need_no_keras():
    code = (
        "import sys, corral.agents, corral.agents.settings as s; s.AgentSettings(); "
        "sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
