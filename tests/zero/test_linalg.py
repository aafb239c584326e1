"""Matrix products against PyTorch: values, gradients, exceptions."""

import numpy as np
import pytest
import torch
from zero.functions import LAYOUTS, array, compare

import danlu.zero as zero
from danlu.zero.tensor import wrap

PAIRS = {
    "matmul": [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (3,)),
        ((3,), (5, 3, 2)),
        ((2, 3), (5, 3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((2, 1, 2, 3), (5, 3, 4)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
        ((1, 2, 3), (5, 3, 1)),
        ((2, 3), (2, 3)),
        ((3,), (2,)),
        ((2, 3), (2,)),
        ((), (3,)),
        ((5, 2, 3), (4, 3, 2)),
        ((2, 5, 2, 3), (3,)),
    ],
    "mm": [((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (2, 3))],
    "bmm": [((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)), ((2, 3), (3, 4))],
    "mv": [((2, 3), (3,)), ((2, 3), (2,)), ((3,), (3,))],
    "dot": [((3,), (3,)), ((3,), (2,)), ((2, 3), (3,)), ((0,), (0,))],
    "outer": [((3,), (2,)), ((2, 3), (3,))],
}
EINSUMS = {
    "ij,jk->ik": ((2, 3), (3, 4)),
    "ij,jk": ((2, 3), (3, 4)),
    "bij,bjk->bik": ((5, 2, 3), (5, 3, 4)),
    "ii->i": ((3, 3),),
    "ii": ((3, 3),),
    "ij->": ((2, 3),),
    "ij->ji": ((2, 3),),
    "i,j->ij": ((2,), (3,)),
    "ij,ij->i": ((2, 3), (2, 3)),
    "...ij,...jk->...ik": ((5, 2, 3), (5, 3, 4)),
    "...i,i": ((5, 2, 3), (3,)),
    "bhqd,bhkd->bhqk": ((2, 2, 3, 4), (2, 2, 5, 4)),
    "ij,jk,kl->il": ((2, 3), (3, 4), (4, 2)),
    "ij,k->i": ((2, 3), (4,)),
    "iij->j": ((3, 3, 2),),
    "ij,j": ((3,), (3,)),
    "ij->kj": ((2, 3),),
    "ij,jk->ik ": ((2, 3), (4, 4)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("call", "shapes"), [*((n, s) for n, pairs in PAIRS.items() for s in pairs), *EINSUMS.items()])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products(call, shapes, layout, dtype):
    def product(m, *xs):
        return getattr(m, call)(*xs) if call in PAIRS else m.einsum(call, *xs)

    xs = [array(shape, layout, dtype, seed) for seed, shape in enumerate(shapes)]
    try:
        product(torch, *(torch.from_numpy(x.copy()) for x in xs))
    except Exception as error:
        with pytest.raises(type(error)):
            product(zero, *map(wrap, xs))
        return
    compare(product, xs, 1e-5 if dtype == "float32" else 1e-10)


@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (0.5, 2.0)])
def test_sums_with_products(beta, alpha):
    options = {"beta": beta, "alpha": alpha}
    compare(lambda m, c, a, b: m.addmm(c, a, b, **options), [array(s) for s in ((4,), (2, 3), (3, 4))], 1e-10)
    compare(lambda m, a: m.trace(a), [array((3, 4))], 1e-10)


MISUSE = {
    "types": lambda m, t: t(np.ones(3)) @ t(np.arange(3)),
    "types_mm": lambda m, t: m.mm(t(np.ones((2, 2))), t(np.ones((2, 2), np.float32))),
    "trace": lambda m, t: m.trace(t(np.ones(3))),
    "terms": lambda m, t: m.einsum("ij,jk->ik", t(np.ones((2, 2)))),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_raises_the_same_type(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        MISUSE[name](torch, torch.from_numpy)
    with pytest.raises(theirs.type):
        MISUSE[name](zero, wrap)
