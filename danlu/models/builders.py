"""The builders by name, for recipes that name one."""

from collections.abc import Callable

from torch import nn

from danlu.models.convolutional import cnn, lenet, vgg
from danlu.models.dense import linear_regression, mlp, softmax_regression
from danlu.models.recurrent import bilstm, lstm
from danlu.models.resnet import resnet18, resnet34, resnet50

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "softmax_regression": softmax_regression,
    "linear_regression": linear_regression,
    "lenet": lenet,
    "cnn": cnn,
    "vgg": vgg,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "lstm": lstm,
    "bilstm": bilstm,
}
