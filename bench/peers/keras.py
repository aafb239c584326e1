"""Keras 3 on its torch backend: a `Sequential` of Keras layers, `compile`, and `fit` on arrays.

Settings: the same first weights as everybody else's; pictures as (channels, rows, columns), which its torch backend
need not turn around; accuracy as a metric of `compile`; the default jit_compile (which is off for torch), no progress.
"""

import os
import tempfile
from time import perf_counter
from typing import Any, final

os.environ["KERAS_BACKEND"] = "torch"
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="danlu-keras-"))

import keras
import numpy as np
from torch import nn

from bench.task import Competitor, Epoch, Fit, Task, as_floats, load, make_model

keras.config.set_image_data_format("channels_first")


@final
class Trainer(Competitor):
    def prepare(self, task: Task) -> None:
        inputs, target, valid_inputs, valid_target = load(task)
        self._task, self._train = task, (as_floats(inputs).numpy(), target)
        self._valid = as_floats(valid_inputs).numpy(), valid_target

    def run(self, epochs: int) -> Fit:
        task, clock = self._task, Clock()
        keras.utils.set_random_seed(task.seed)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if task.classifies else "mse"
        model = translated(make_model(task), self._train[0].shape[1:])
        model.compile(
            optimizer=keras.optimizers.SGD(task.lr, momentum=task.momentum),
            loss=loss,
            metrics=["accuracy"] if task.classifies else [],
        )
        model.fit(
            *self._train,
            batch_size=task.batch_size,
            epochs=epochs,
            validation_data=self._valid,
            validation_batch_size=task.batch_size,
            callbacks=[clock],
            verbose=0,
        )
        return clock.fit


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    def on_train_begin(self, logs: Any = None) -> None:
        self.fit, self.trained_s = Fit(perf_counter()), 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        self.trained_s = perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        accuracies = logs.get("accuracy"), logs.get("val_accuracy")
        self.fit.epochs.append(Epoch(self.trained_s, perf_counter(), logs["loss"], logs["val_loss"], *accuracies))


def translated(model: nn.Module, shape: tuple[int, ...]) -> Any:
    """Return the Keras model of a task's PyTorch model, with its weights.

    Args:
        model: one layer, or a Sequential of linear layers, convolutions, batch norm, ReLU, pooling and Flatten.
        shape: of one input.
    """
    layers = list(model) if isinstance(model, nn.Sequential) else [model]
    made = [_layer(layer) for layer in layers]
    whole = keras.Sequential([keras.Input(shape), *made])
    for layer, other in zip(layers, made, strict=True):
        if values := _weights(layer):
            other.set_weights(values)
    return whole


def _layer(layer: nn.Module) -> Any:
    if isinstance(layer, nn.Linear):
        return keras.layers.Dense(layer.out_features)
    if isinstance(layer, nn.Conv2d):
        return keras.layers.Conv2D(layer.out_channels, layer.kernel_size, padding="same")
    if isinstance(layer, nn.BatchNorm2d):
        return keras.layers.BatchNormalization(axis=1, momentum=1 - (layer.momentum or 0.1), epsilon=layer.eps)
    if isinstance(layer, nn.MaxPool2d):
        return keras.layers.MaxPooling2D(layer.kernel_size)
    return keras.layers.Reshape((-1,)) if isinstance(layer, nn.Flatten) else keras.layers.ReLU()


def _weights(layer: nn.Module) -> list[np.ndarray[Any, Any]]:
    """Return a layer's weights in the order and shape that Keras has them."""
    kept = [tensor.detach() for tensor in (*layer.parameters(), *layer.buffers()) if tensor.is_floating_point()]
    if not kept:
        return []
    weight = kept[0]
    turned = weight.T if weight.ndim == 2 else weight.permute(2, 3, 1, 0) if weight.ndim == 4 else weight
    return [tensor.numpy() for tensor in (turned.contiguous(), *kept[1:])]
