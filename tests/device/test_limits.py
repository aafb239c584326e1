"""What the machine can do: plausible figures, and nothing of the caller's moved."""

import torch

from danlu.device import Gauge, Limits, limits


def test_a_machine_is_measured_and_left_alone():
    torch.manual_seed(0)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    found = limits("cpu", samples=2)
    assert 1e8 < found.flops_per_s < 1e14
    assert 1e7 < found.bytes_per_s < 1e13
    assert 1e-9 < found.call_s < 1e-2
    assert found.shape == "a 1024 x 1024 x 1024 product in float32"
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_products_are_of_the_precision_that_trains():
    assert Gauge("cpu", "bf16").sample().dtype == "bfloat16"


def test_of_two_readings_the_better_counts_figure_by_figure():
    one, two = Limits(10.0, 3.0, 0.2, 1024, "float32"), Limits(8.0, 4.0, 0.1, 1024, "float32")
    assert one.best(two) == two.best(one) == Limits(10.0, 4.0, 0.1, 1024, "float32")
