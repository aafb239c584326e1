"""Programs as a course on PyTorch writes them: each runs unchanged on both engines, and brings the same numbers."""

import random
from collections import OrderedDict

import pytest
import torch as pytorch
from zero.programs import alike, filled, number, numbers

import danlu.zero as zero


def gradient_of_two_x_x(torch):
    x = torch.arange(4.0)
    x.requires_grad_(True)
    y = 2 * torch.dot(x, x)
    y.backward()
    first = x.grad.clone()
    assert (x.grad == 4 * x).all()
    x.grad.zero_()
    x.sum().backward()
    second = x.grad.clone()
    x.grad.zero_()
    (x * x).sum().backward()
    return first, second, x.grad


def sigmoid_derivative_by_a_vector(torch):
    x = torch.arange(-8.0, 8.0, 0.1, requires_grad=True)
    y = torch.sigmoid(x)
    y.backward(torch.ones_like(x), retain_graph=True)
    return y, x.grad


def detached_part_is_a_constant(torch):
    x = torch.arange(4.0, requires_grad=True)
    u = (x * x).detach()
    z = u * x
    z.sum().backward()
    assert (x.grad == u).all()
    return z, x.grad


def control_flow(torch):
    def f(a):
        b = a * 2
        while b.norm() < 1000:
            b = b * 2
        return b if b.sum() > 0 else 100 * b

    a = torch.tensor(0.37, requires_grad=True)
    d = f(a)
    d.backward()
    assert a.grad == d / a
    return d, a.grad


def tensors_and_arrays(torch):
    x = torch.arange(12, dtype=torch.float32).reshape(3, -1)
    y = torch.tensor([[2.0, 1, 4, 3], [1, 2, 3, 4], [4, 3, 2, 1]])
    z = torch.cat((x, y), dim=1)
    x[1:2, :] = 12
    before = id(y)
    y += x
    assert id(y) == before
    x[-1] = -1.0
    a = x.numpy()
    return (
        z,
        x == y,
        x.sum(),
        x.sum(dim=1, keepdim=True) / x.mean(),
        torch.from_numpy(a),
        y.T,
        y[0:2, 1],
        len(x),
        y.view(-1)[::2],
    )


def linear_regression_from_scratch(torch):
    def data_iter(batch_size, features, labels):
        num_examples = len(features)
        indices = list(range(num_examples))
        random.shuffle(indices)
        for i in range(0, num_examples, batch_size):
            j = torch.LongTensor(indices[i : min(i + batch_size, num_examples)])
            yield torch.index_select(features, 0, j), torch.index_select(labels, 0, j)

    def sgd(params, lr, batch_size):
        with torch.no_grad():
            for param in params:
                param -= lr * param.grad / batch_size
                param.grad.zero_()

    random.seed(1)
    features = numbers(torch, 40, 2)
    labels = features @ torch.tensor([2, -3.4]) + 4.2
    w = numbers(torch, 2, 1, seed=1) * 0.01
    w.requires_grad_(requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    for _ in range(2):
        for X, y in data_iter(10, features, labels):
            loss = (torch.mm(X, w) + b - y.view(-1, 1)) ** 2 / 2
            loss.sum().backward()
            sgd([w, b], 0.03, 10)
    return w, b, loss.mean().item()


def sgd_through_data(torch):
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        (w**2).sum().backward()
        w.data -= 0.1 * w.grad
        w.grad.data.zero_()
    return w


def softmax_from_scratch(torch):
    def softmax(X):
        X_exp = X.exp()
        return X_exp / X_exp.sum(dim=1, keepdim=True)

    X, W, b = numbers(torch, 6, 5), numbers(torch, 5, 3, seed=1), torch.zeros(3)
    W.requires_grad_()
    b.requires_grad_()
    y = torch.tensor([0, 2, 1, 0, 1, 2])
    y_hat = softmax(torch.matmul(X.reshape((-1, 5)), W) + b)
    loss = -torch.log(y_hat.gather(1, y.view(-1, 1)))
    loss.mean().backward()
    right = (y_hat.argmax(dim=1) == y).float().sum().item()
    also = -torch.log(y_hat[range(len(y_hat)), y])
    return y_hat, loss, W.grad, b.grad, right, (y_hat.argmax(dim=1) == y).float().mean(), also


def own_layers(torch):
    nn = torch.nn

    class MyReLU(nn.Module):
        def forward(self, x):
            return torch.max(x, torch.zeros_like(x))

    class MyLinear(nn.Module):
        def __init__(self, in_units, units):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(in_units, units))
            self.bias = nn.Parameter(torch.randn(units))

        def forward(self, X):
            return torch.matmul(X, self.weight.data if not self.training else self.weight) + self.bias

    net = filled(torch, nn.Sequential(MyLinear(4, 3), MyReLU(), MyLinear(3, 1)))
    loss = (net(numbers(torch, 5, 4)) ** 2).mean()
    loss.backward()
    return loss, [p.grad for p in net.parameters()], list(net.state_dict())


def initialisation(torch):
    nn = torch.nn

    def init_weights(m):
        if isinstance(m, nn.Linear):
            nn.init.constant_(m.weight, 0.5)
            nn.init.zeros_(m.bias)

    def by_name(m):
        if m.__class__.__name__.find("Linear") != -1:
            m.weight.data.fill_(0.25)
            m.bias.data.uniform_(-1, 1)

    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    net.apply(init_weights)
    first = [p.clone() for p in net.parameters()]
    for name, param in net.named_parameters():
        if "weight" in name:
            nn.init.normal_(param, mean=0, std=0.01)
    net.apply(by_name)
    assert abs(net[0].bias.data).max() <= 1
    nn.init.xavier_uniform_(net[0].weight)
    nn.init.kaiming_normal_(net[0].weight, nonlinearity="relu")
    return first, net[2].weight


def three_sequentials(torch):
    nn = torch.nn
    one = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    two = nn.Sequential()
    two.add_module("hidden", nn.Linear(2, 3))
    two.add_module("act", nn.ReLU())
    two.add_module("output", nn.Linear(3, 1))
    three = nn.Sequential(OrderedDict([("hidden", nn.Linear(2, 3)), ("output", nn.Linear(3, 1))]))
    x = numbers(torch, 4, 2)
    return [[str(net), list(net.state_dict()), filled(torch, net)(x)] for net in (one, two, three)]


def nested_and_shared_blocks(torch):
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
            self.linear = nn.Linear(8, 4)
            self.rand_weight = numbers(torch, 4, 4, seed=3)

        def forward(self, X):
            X = torch.relu(torch.mm(self.linear(self.net(X)), self.rand_weight) + 1)
            while X.abs().sum() > 1:
                X = X / 2
            return X

    shared = nn.Linear(4, 4)
    layers = nn.ModuleList([Block(), Block()])
    layers.append(nn.Linear(4, 4))
    net = filled(torch, nn.Sequential(OrderedDict(a=layers[0], s1=shared, r=nn.ReLU(), s2=shared, b=layers[2])))
    out = net(numbers(torch, 3, 4))
    out.sum().backward()
    assert net.s1 is net.s2
    return out, str(net), len(list(net.parameters())), shared.weight.grad, [n for n, _ in net.named_modules()]


def hooks(torch):
    seen = []
    net = filled(torch, torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))
    handle = net[0].register_forward_hook(lambda module, inputs, output: seen.append(output.detach().clone()))
    x = numbers(torch, 2, 2).requires_grad_()
    net(x)
    handle.remove()
    out = net(x)
    x.register_hook(lambda grad: grad * 2)
    out.sum().backward()
    return seen, x.grad


def dropout_from_scratch(torch):
    def dropout(X, drop_prob):
        X = X.float()
        assert 0 <= drop_prob <= 1
        if drop_prob == 1:
            return torch.zeros_like(X)
        mask = (torch.rand(X.shape) < 1 - drop_prob).float()
        return mask * X / (1 - drop_prob)

    X = torch.arange(16).view(2, 8)
    half = dropout(X, 0.5)
    assert ((half == 0) | (half == 2 * X)).all()
    layer = torch.nn.Dropout(0.5)
    layer.eval()
    return dropout(X, 0), dropout(X, 1.0), layer(X.float())


def to_a_device(torch):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = filled(torch, torch.nn.Linear(2, 2)).to(device)
    x = numbers(torch, 3, 2).to(device)
    assert x.device == device
    assert next(net.parameters()).device == torch.device("cpu")
    return net(x).cpu(), str(device), repr(x.device), str(net)


def partly_loaded(torch):
    nn = torch.nn
    big = nn.Sequential(OrderedDict(body=nn.Linear(2, 3), head=nn.Linear(3, 4)))
    weights = filled(torch, nn.Sequential(OrderedDict(body=nn.Linear(2, 3), other=nn.Linear(3, 1)))).state_dict()
    result = big.load_state_dict(weights, strict=False)
    for param in big.body.parameters():
        param.requires_grad = False
    return (
        sorted(result.missing_keys),
        sorted(result.unexpected_keys),
        big.body.weight,
        sum(p.requires_grad for p in big.parameters()),
    )


PROGRAMS = [
    gradient_of_two_x_x,
    sigmoid_derivative_by_a_vector,
    detached_part_is_a_constant,
    control_flow,
    tensors_and_arrays,
    linear_regression_from_scratch,
    sgd_through_data,
    softmax_from_scratch,
    own_layers,
    initialisation,
    three_sequentials,
    nested_and_shared_blocks,
    hooks,
    dropout_from_scratch,
    to_a_device,
    partly_loaded,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_same_program_brings_the_same_numbers(program):
    alike(number(program(zero)), number(program(pytorch)))
