from collections import namedtuple

import pytest
import torch

from danlu.data.canonical import pair, settle
from danlu.errors import DataError

A, B, Y = torch.zeros(3, 2), torch.ones(3), torch.arange(3)
Pair = namedtuple("Pair", "inputs target")


def test_every_form() -> None:
    assert pair([A, Y]) == (A, Y)
    assert pair((A, Y)) == (A, Y)
    assert pair(Pair(A, Y)) == (A, Y)
    assert pair([A, B, Y]) == ((A, B), Y)
    assert pair([[A, B], Y]) == ((A, B), Y)
    assert pair([{"a": A}, Y]) == ({"a": A}, Y)
    assert pair(A) == (A, None)
    assert pair([A]) == (A, None)
    for key in ("target", "label", "labels", "y"):
        assert pair({"a": A, key: Y}) == ({"a": A}, Y)
    assert pair({"a": A, "y": B, "kind": Y}, "kind") == ({"a": A, "y": B}, Y)


@pytest.mark.parametrize(
    ("collated", "target", "says"),
    [
        ({"a": A, "b": B}, None, "under one of target, label, labels, y"),
        ({"a": A, "y": B}, "kind", "under 'kind'"),
        ([A, ["cat", "dog"]], None, "target of a batch: got a list"),
        ({"name": ["a"], "y": Y}, None, "'name' of a batch"),
        ([[A, None], Y], None, r"inputs\[1\]"),
        ("text", None, "a str"),
        ([], None, "a list"),
    ],
)
def test_other_forms_are_refused(collated: object, target: str | None, says: str) -> None:
    with pytest.raises(DataError, match=says):
        pair(collated, target)


def test_types_are_settled() -> None:
    device = torch.device("cpu")
    inputs, target = settle((A.double(), Y.int()), device)
    assert (inputs.dtype, target.dtype) == (torch.float32, torch.int64)
    (first, second), target = settle(((A.half(), Y.int()), B.double()), device)
    assert (first.dtype, second.dtype, target.dtype) == (torch.float16, torch.int32, torch.float32)
    named, target = settle(({"a": A.to(torch.uint8)}, B.bool()), device)
    assert (named["a"].dtype, target.dtype) == (torch.uint8, torch.int64)
    assert settle((A, None), device)[1] is None
