"""Data sets of danlu.zero train as any others do, on both engines."""

from typing import Any

import numpy as np
import pytest
from torch import nn

import danlu
from danlu import zero
from danlu.errors import DataError
from danlu.models.twin import twin
from danlu.zero.utils.data import DataLoader, Dataset, TensorDataset

X = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


class Rows(Dataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[zero.Tensor, int]:
        return zero.from_numpy(X[index]), int(Y[index])


GIVEN = {
    "tensors": lambda: (zero.tensor(X), zero.tensor(Y)),
    "TensorDataset": lambda: TensorDataset(zero.tensor(X), zero.tensor(Y)),
    "Dataset": Rows,
}


@pytest.mark.parametrize("kind", GIVEN)
def test_they_train_as_arrays_do(kind: str):
    def loss(data: Any, *, ours: bool) -> float:
        model = nn.Linear(4, 2)
        nn.init.constant_(model.weight, 0.1)
        nn.init.zeros_(model.bias)
        recipe = danlu.Recipe(epochs=2, batch_size=8, optim=danlu.Optim("sgd", lr=0.1))
        return danlu.fit(twin(model) if ours else model, data, recipe, quiet=True).summary["final"]["train/loss"]

    for ours in (False, True):
        assert loss(GIVEN[kind](), ours=ours) == pytest.approx(loss((X, Y), ours=ours), rel=1e-6)


def test_a_loader_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"got a DataLoader of danlu\.zero.*pass loader\.dataset"):
        danlu.data.as_data(DataLoader(Rows(), batch_size=4))
