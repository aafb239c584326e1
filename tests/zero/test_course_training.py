"""Training as a course on PyTorch writes it: each program runs unchanged on both engines, with the same numbers."""

import pytest
import torch as pytorch
from zero.programs import alike, filled, number, numbers

import danlu.zero as zero


def parameter_groups(torch):
    nn, optim = torch.nn, torch.optim
    net = filled(torch, nn.Linear(3, 1))
    optimizer = optim.SGD([{"params": net.weight, "weight_decay": 3}, {"params": net.bias}], lr=0.1, momentum=0.9)
    x, y = numbers(torch, 8, 3), numbers(torch, 8, 1, seed=1)
    rates = []
    for epoch in range(4):
        loss = nn.MSELoss()(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch == 1:
            for g in optimizer.param_groups:
                g["lr"] *= 0.1
        rates.append(optimizer.param_groups[0]["lr"])
    return rates, list(net.parameters()), loss


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta"])
def test_every_optimizer_and_a_schedule(optimizer):
    def train(torch):
        net = filled(torch, torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)))
        trainer = getattr(torch.optim, optimizer)(net.parameters(), lr=0.05)
        scheduler = torch.optim.lr_scheduler.StepLR(trainer, step_size=2, gamma=0.5)
        rates = []
        for _ in range(5):
            trainer.zero_grad()
            ((net(numbers(torch, 6, 3)) - 1) ** 2).mean().backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            trainer.step()
            scheduler.step()
            rates.append(scheduler.get_last_lr()[0])
        return rates, list(net.parameters())

    alike(number(list(train(zero))), number(list(train(pytorch))))


def schedules(torch):
    optim = torch.optim
    trainer = optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    rates = []
    for make in (
        lambda: optim.lr_scheduler.MultiStepLR(trainer, [2, 4], 0.1),
        lambda: optim.lr_scheduler.CosineAnnealingLR(trainer, T_max=6),
        lambda: optim.lr_scheduler.LambdaLR(trainer, lambda epoch: 1 / (epoch + 1)),
        lambda: optim.lr_scheduler.ExponentialLR(trainer, 0.9),
    ):
        scheduler = make()
        for _ in range(6):
            trainer.step()
            scheduler.step()
            rates.append(trainer.param_groups[0]["lr"])
    return rates


def dataset_and_collate(torch):
    Dataset, DataLoader = torch.utils.data.Dataset, torch.utils.data.DataLoader

    class Sentences(Dataset):
        def __init__(self):
            self.rows = [[1, 2, 3], None, [4], [5, 6]]

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, i):
            return None if self.rows[i] is None else (torch.tensor(self.rows[i]), i)

    def collate_fn(batch):
        batch = [item for item in batch if item is not None]
        texts, labels = zip(*batch, strict=True)
        padded = torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True, padding_value=0)
        return padded, torch.tensor(labels), torch.tensor([len(t) for t in texts])

    return [list(batch) for batch in DataLoader(Sentences(), batch_size=3, shuffle=False, collate_fn=collate_fn)]


def tensor_dataset(torch):
    data = torch.utils.data
    features, labels = numbers(torch, 10, 2), torch.arange(10)
    loader = data.DataLoader(data.TensorDataset(features, labels), batch_size=4, shuffle=False, drop_last=True)
    torch.manual_seed(0)
    shuffled = data.DataLoader(data.TensorDataset(labels), 3, shuffle=True, num_workers=0)
    assert sorted(int(i) for (batch,) in shuffled for i in batch) == list(range(10))
    return [[X, y] for X, y in loader], len(loader), len(shuffled)


def k_fold(torch):
    def get_k_fold_data(k, i, X, y):
        fold_size = X.shape[0] // k
        X_train, y_train = None, None
        for j in range(k):
            idx = slice(j * fold_size, (j + 1) * fold_size)
            X_part, y_part = X[idx, :], y[idx]
            if j == i:
                X_valid, y_valid = X_part, y_part
            elif X_train is None:
                X_train, y_train = X_part, y_part
            else:
                X_train = torch.cat((X_train, X_part), dim=0)
                y_train = torch.cat((y_train, y_part), dim=0)
        return X_train, y_train, X_valid, y_valid

    return [list(get_k_fold_data(3, i, numbers(torch, 9, 2), torch.arange(9))) for i in range(3)]


def train_and_eval_modes(torch):
    nn = torch.nn
    net = filled(torch, nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.0), nn.Linear(4, 2)))
    x = numbers(torch, 6, 3)
    train = net(x)
    net.eval()
    with torch.no_grad():
        evaluated = net(x)
    assert not evaluated.requires_grad
    net.train()
    assert net.training
    return train, evaluated, net[1].running_mean, net[1].num_batches_tracked


def lenet(torch):
    nn = torch.nn

    class LeNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv2d(1, 6, 5),
                nn.Sigmoid(),
                nn.MaxPool2d(2, 2),
                nn.Conv2d(6, 16, 5),
                nn.Sigmoid(),
                nn.MaxPool2d(2, 2),
            )
            self.fc = nn.Sequential(nn.Linear(16 * 4 * 4, 120), nn.Sigmoid(), nn.Linear(120, 10))

        def forward(self, img):
            feature = self.conv(img)
            return self.fc(feature.view(img.shape[0], -1))

    net = filled(torch, LeNet())
    loss = nn.CrossEntropyLoss()(net(numbers(torch, 2, 1, 28, 28)), torch.tensor([3, 7]))
    loss.backward()
    return str(net), loss, net.conv[0].weight.grad


def packed_lstm(torch):
    nn = torch.nn
    embedding, lstm = filled(torch, nn.Embedding(10, 4)), filled(torch, nn.LSTM(4, 5, batch_first=True))
    tokens, lengths = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2])
    packed = nn.utils.rnn.pack_padded_sequence(embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
    output, (h, c) = lstm(packed)
    output, sizes = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    h[-1].sum().backward()
    return output, sizes, h, c, embedding.weight.grad, str(lstm)


def recurrent_from_scratch(torch):
    F = torch.nn.functional
    X = F.one_hot(torch.tensor([[0, 2], [1, 1]]).T, 3).float()
    W_xh, W_hh = numbers(torch, 3, 4).requires_grad_(), numbers(torch, 4, 4, seed=1).requires_grad_()
    H, outputs = torch.zeros(2, 4), []
    for step in X:
        H = torch.tanh(torch.mm(step, W_xh) + torch.mm(H, W_hh))
        outputs.append(H)
    out = torch.stack(outputs)
    out.sum().backward()
    return out, W_hh.grad


PROGRAMS = [
    parameter_groups,
    schedules,
    dataset_and_collate,
    tensor_dataset,
    k_fold,
    train_and_eval_modes,
    lenet,
    packed_lstm,
    recurrent_from_scratch,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_the_same_program_brings_the_same_numbers(program):
    alike(number(program(zero)), number(program(pytorch)))


@pytest.mark.parametrize("engine", [zero, pytorch], ids=["zero", "pytorch"])
def test_training_goes_on_from_a_checkpoint(engine, tmp_path):
    torch, path = engine, tmp_path / "checkpoint.pt"
    X, y = numbers(torch, 12, 3), numbers(torch, 12, 1, seed=1)

    def build():
        net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        return net, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)

    def train(net, optimizer, scheduler, epochs):
        for _ in range(epochs):
            loss = torch.nn.functional.mse_loss(net(X), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        return loss.item()

    net, optimizer, scheduler = build()
    filled(torch, net)
    loss = train(net, optimizer, scheduler, 3)
    torch.save(
        {
            "epoch": 3,
            "model_state_dict": net.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "loss": loss,
            "history": [loss, (1, None)],
        },
        path,
    )
    expected = train(net, optimizer, scheduler, 3)

    net, optimizer, scheduler = build()
    checkpoint = torch.load(path, map_location=torch.device("cpu"), weights_only=True)
    net.load_state_dict(checkpoint["model_state_dict"])
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    assert checkpoint["epoch"] == 3
    assert train(net, optimizer, scheduler, 3) == expected

    torch.save(net.state_dict(), tmp_path / "net.pt")
    other = build()[0]
    other.load_state_dict(torch.load(tmp_path / "net.pt"))
    assert (other(X) == net(X)).all()
