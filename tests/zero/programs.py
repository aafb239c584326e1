"""Programs of a course that run on both engines: the same inputs and weights for both, and results held together."""

import numpy as np


def number(value):
    if hasattr(value, "detach"):
        return value.detach().numpy()
    if isinstance(value, dict):
        return {key: number(x) for key, x in value.items()}
    return [number(x) for x in value] if isinstance(value, list | tuple) else value


def alike(a, b):
    if isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            alike(x, y)
    elif isinstance(a, str):
        assert a == b
    else:
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def filled(torch, net, seed=0):
    """Give both engines the same weights."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for param in net.parameters():
            param.copy_(torch.from_numpy(rng.standard_normal(tuple(param.shape)).astype("f") * 0.3))
    return net


def numbers(torch, *shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype("f"))
