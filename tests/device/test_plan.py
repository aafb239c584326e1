import dataclasses
import json

import msgspec
import pytest
import torch

from danlu import Recipe, RecipeError
from danlu.device import Plan, Tried, plan_for
from danlu.recipe_text import settle


def plan(**fields):
    return plan_for(settle(Recipe(**fields))[0])


def test_the_defaults_are_this_machine():
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert plan(batch_size=7) == Plan(device, "float32", torch.get_num_threads(), True, 7)


def test_what_the_recipe_says_counts():
    found = plan(device="cpu", precision="bf16", threads=3, deterministic=False, batch_size=7, eval_batch_size=100)
    assert found == Plan("cpu", "bf16", 3, False, 100)


def test_making_a_plan_changes_nothing():
    before = torch.get_num_threads()
    plan(threads=before + 3)
    assert torch.get_num_threads() == before


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(RecipeError, match=r"^device: got cuda:99; want a device of this machine"):
        plan(device="cuda:99")


def test_a_plan_comes_back_from_json():
    first = plan(device="cpu")
    tried = Tried("fused optimizer", "taken", 0.002, 0.6, 1e-8)
    first = dataclasses.replace(first, optimizer="fused", update_s=0.002, tried=[tried])
    assert msgspec.convert(json.loads(json.dumps(dataclasses.asdict(first))), Plan) == first


def test_a_plan_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan(device="cpu").threads = 3
