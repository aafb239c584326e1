"""Softmax regression: a linear layer for ten classes, softmax, cross-entropy and accuracy, on pictures.

`scratch` writes softmax (with the largest logit taken off, or exp overflows), cross-entropy and SGD; `concise` takes
`nn.Linear`, `nn.CrossEntropyLoss` (which has softmax in it) and `optim.SGD`.

What to see: the same curves twice. A linear classifier of clothes levels off near 80 % test accuracy here.
"""

from danlu import zero
from danlu.course.page import Page
from danlu.course.samples import Pictures, pictures
from danlu.zero import Tensor, nn, optim
from danlu.zero.utils.data import DataLoader, TensorDataset

Curves = dict[str, list[float]]
BATCH, LR, CLASSES = 100, 0.1, 10


def softmax(logits: Tensor) -> Tensor:
    """Return the rows' probabilities: exp(z) / sum exp(z), which stays the same when a number is taken off every z."""
    e = (logits - logits.max(dim=1, keepdim=True).values).exp()
    return e / e.sum(dim=1, keepdim=True)


def cross_entropy(p: Tensor, y: Tensor) -> Tensor:
    """Return the mean of -log of the probability that the right class got."""
    return -p[zero.arange(len(y)), y].log().mean()


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Return the share of rows whose largest score is the right class's."""
    return (scores.argmax(dim=1) == y).float().mean().item()


def scratch(data: list[Tensor], w0: Tensor, orders: list[Tensor]) -> tuple[Curves, Tensor]:
    """Train with tensors and autograd alone; return curves and weight."""
    x, y, x_test, y_test = data
    w, b = w0.clone().requires_grad_(), zero.zeros(CLASSES, requires_grad=True)
    curves: Curves = {"loss": [], "train": [], "test": []}
    for order in orders:
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            cross_entropy(softmax(x[chosen] @ w + b), y[chosen]).backward()
            with zero.no_grad():
                for parameter in (w, b):
                    parameter -= LR * parameter.grad
                    parameter.grad.zero_()
        with zero.no_grad():
            p = softmax(x @ w + b)
            curves["loss"].append(cross_entropy(p, y).item())
            curves["train"].append(accuracy(p, y))
            curves["test"].append(accuracy(x_test @ w + b, y_test))  # softmax does not change which is largest
    return curves, w.detach()


def concise(data: list[Tensor], w0: Tensor, orders: list[Tensor]) -> tuple[Curves, Tensor]:
    """Train with a layer, a loss, a DataLoader and an optimizer; return curves and weight."""
    x, y, x_test, y_test = data
    net = nn.Linear(x.shape[1], CLASSES)
    with zero.no_grad():
        net.weight.copy_(w0.T)
        net.bias.zero_()
    objective, optimizer = nn.CrossEntropyLoss(), optim.SGD(net.parameters(), lr=LR)
    curves: Curves = {"loss": [], "train": [], "test": []}
    for order in orders:
        for x_batch, y_batch in DataLoader(TensorDataset(x, y), batch_size=BATCH, sampler=order.tolist()):
            optimizer.zero_grad()
            objective(net(x_batch), y_batch).backward()
            optimizer.step()
        with zero.no_grad():
            logits = net(x)
            curves["loss"].append(objective(logits, y).item())
            curves["train"].append(accuracy(logits, y))
            curves["test"].append(accuracy(net(x_test), y_test))
    return curves, net.weight.detach().T


def tensors(data: Pictures) -> list[Tensor]:
    """Return the four arrays as tensors."""
    return [zero.tensor(array) for array in data]


def lesson(page: Page, *, short: bool = False) -> None:
    """Classify pictures with one linear layer, twice."""
    page.title = "Softmax regression, from scratch and concise"
    zero.manual_seed(0)
    data = tensors(pictures(500, 500, page) if short else pictures(6000, 2000, page))
    orders = [zero.randperm(len(data[0])) for _ in range(2 if short else 10)]
    w0 = 0.01 * zero.randn(data[0].shape[1], CLASSES)
    (first, w_first), (second, w_second) = scratch(data, w0, orders), concise(data, w0, orders)
    ends = {name: (first[name][-1], second[name][-1]) for name in first}
    named = {"train loss": ends["loss"], "train accuracy": ends["train"], "test accuracy": ends["test"]}
    page.compare({**named, "weight": (w_first, w_second)})
    page.curves("training loss", {"cross-entropy": (first["loss"], second["loss"])}, labels=("epoch", "cross-entropy"))
    both = {name: (first[name], second[name]) for name in ("train", "test")}
    page.curves("accuracy", both, labels=("epoch", "share of right answers"))
    page.say(
        "See: the curves lie on each other: the layer, the loss and the optimizer are those few lines. "
        "CrossEntropyLoss takes logits, since it has softmax in it; softmax before it is a slip that slows learning."
    )
