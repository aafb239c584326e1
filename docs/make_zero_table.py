"""Write docs/zero.md: what of PyTorch's interface danlu.zero has, argument by argument.

    python docs/make_zero_table.py

PyTorch's side is read from its signatures (where there are none, from the first line of the description), ours from
our signatures, and by trying the values that an argument could have.
"""

import inspect
import re
from pathlib import Path

import torch

import danlu.zero as zero

TARGET = Path(__file__).parent / "zero.md"
HEAD = """# danlu.zero beside PyTorch

Made by `docs/make_zero_table.py`; do not edit. Every name below is PyTorch's, and means the same. An argument that is
not supported raises an error that names it. `dim` and `keepdim` may be written `axis` and `keepdims` in functions and
methods. Where an argument is a tensor of an operation (`input`, `other`), give it by position. `device` is always the
processor; `out`, `layout`, `memory_format` and `pin_memory` have their default alone. There are no complex and no
sparse numbers, and no second derivatives.
"""

# What a layer or an optimizer needs so that it can be built at all.
NEEDED = {
    "in_features": 4,
    "out_features": 4,
    "in1_features": 4,
    "in2_features": 4,
    "in_channels": 4,
    "out_channels": 4,
    "kernel_size": 3,
    "output_size": 2,
    "num_features": 4,
    "num_groups": 2,
    "num_channels": 4,
    "normalized_shape": 4,
    "num_embeddings": 5,
    "embedding_dim": 4,
    "input_size": 4,
    "hidden_size": 4,
    "embed_dim": 4,
    "num_heads": 2,
    "d_model": 4,
    "nhead": 2,
    "dim": 1,
    "unflattened_size": (2, 2),
    "upscale_factor": 2,
    "downscale_factor": 2,
    "threshold": 0.5,
    "value": 0.0,
    "size": 2,
    "padding": 1,
    "scale_factor": 2,
    "lr_lambda": lambda epoch: 1.0,
    "step_size": 2,
    "milestones": [2],
    "gamma": 0.9,
    "T_max": 3,
    "T_0": 3,
    "base_lr": 0.1,
    "max_lr": 0.2,
    "total_steps": 5,
    "schedulers": [],
    "cutoffs": [2],
    "n_classes": 4,
    "output_ratio": 0.5,
    "encoder_layer": None,
    "num_layers": 1,
}
# Values to try of arguments that are no switch.
TRIED = {
    "padding_mode": ("reflect", "replicate", "circular"),
    "foreach": (True,),
    "fused": (True,),
    "decoupled_weight_decay": (True,),
    "mode": ("nearest", "bilinear", "max", "sum"),
    "scale_grad_by_freq": (True,),
    "proj_size": (1,),
}
ONE_VALUE = {"device", "out", "layout", "memory_format", "pin_memory"}
WITHOUT_MEANING = {"self", "args", "kwargs", "params", "optimizer", *ONE_VALUE}
OF_CREATION = {"size", "low", "high", "dtype", "generator", "requires_grad"}
FACTORS = {"other", "mat2", "vec", "vec2", "tensor"}  # second tensors, given by position
OBSOLETE = {"size_average", "reduce", "_weight", "_freeze", "_stacklevel", "_reduction"}
SKIPPED = {"Module", "Container", "Parameter", "Buffer", "Sequential", "ModuleList", "ModuleDict", "ParameterList"}


def parameters(thing):
    """Return {name: default} of a callable, or None where nothing says."""
    try:
        found = inspect.signature(thing).parameters.values()
        said = {p.name: p.default for p in found if p.name not in OBSOLETE and p.kind not in (p.VAR_KEYWORD,)}
        if not all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in found):
            return said
    except ValueError:
        said = None
    doc = inspect.getdoc(thing) or ""
    lines = re.findall(r"^\w+\((.*?)\)(?:\s*->|$)", doc[:600].replace("\n", " ")[: doc.find("\n\n")])
    if said is None:
        lines = lines or re.findall(r"\w+\((.*?)\)\s*->", doc.replace("\n", " ")[:600])[:1]
    lines += re.findall(r"function:: \w+\((.*?)\)\s*->", doc)  # further forms, as `sum(input, dim, keepdim)`
    if not lines:
        return said
    parts = [re.split("[:=]", part)[0].split() for line in lines for part in re.split(r",(?![^(\[]*[)\]])", line)]
    names = [words[-1].strip("*") for words in parts if words]
    return {name: inspect.Parameter.empty for name in names if name.isidentifier() and name not in OBSOLETE}


def takes_anything(thing):
    """Tell whether a callable has `**options`."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(thing).parameters.values())


def built(kind, **options):
    """Build a layer, an optimizer or a schedule of ours with what it needs and the options."""
    known = parameters(kind)
    required = [name for name, default in known.items() if default is inspect.Parameter.empty]
    given = {name: NEEDED[name] for name in required if name in NEEDED}
    if "params" in known:
        given["params"] = [zero.ones(2, requires_grad=True)]
    if "optimizer" in known:
        given["optimizer"] = zero.optim.SGD([zero.ones(2, requires_grad=True)], lr=0.1, momentum=0.9)
    return kind(**{**given, **options})


def refused(ours, theirs):
    """Yield (argument, value, how it is written) for all that PyTorch takes and ours does not."""
    mine = parameters(ours)
    for name, default in theirs.items():
        if name in WITHOUT_MEANING:
            continue
        if name not in mine and not takes_anything(ours):
            yield name, NEEDED.get(name, 1), name
            continue
        values = (not default,) if isinstance(default, bool) else TRIED.get(name, ())
        for value in values:
            try:
                built(ours, **{name: value})
            except (NotImplementedError, TypeError) as error:
                if name in str(error):
                    yield name, value, f"{name}={value!r}"
            except Exception:
                continue


def classes(ours, theirs):
    """Yield (name, our class, PyTorch's) for all that both have."""
    for name in sorted(vars(theirs)):
        kind, mine = getattr(theirs, name), getattr(ours, name, None)
        if inspect.isclass(kind) and inspect.isclass(mine) and not name.startswith("_") and name not in SKIPPED:
            yield name, mine, kind


def class_rows(ours, theirs):
    """Return the rows of a table of classes."""
    rows = []
    for name, mine, kind in classes(ours, theirs):
        wanted = parameters(kind)
        missing = list(refused(mine, wanted))
        gone = {written for _, _, written in missing}
        fine = [arg for arg in wanted if arg not in gone and arg not in WITHOUT_MEANING - {"params", "optimizer"}]
        rows.append((name, fine, [written for _, _, written in missing]))
    return rows


def function_rows(ours, theirs, names):
    """Return the rows of a table of functions."""
    rows = []
    for name in sorted(names):
        mine, wanted = parameters(getattr(ours, name)), parameters(getattr(theirs, name))
        if mine is None or wanted is None:
            continue
        tensors = sum(p.kind is p.POSITIONAL_ONLY for p in inspect.signature(getattr(ours, name)).parameters.values())
        anything = takes_anything(getattr(ours, name))
        fine = [
            a
            for i, a in enumerate(wanted)
            if a in mine or i < tensors or a in FACTORS or (anything and a in OF_CREATION)
        ]
        missing = [a for a in wanted if a not in fine and a not in WITHOUT_MEANING and a != "inplace"]
        rows.append((name, [a for a in fine if a not in WITHOUT_MEANING], missing))
    return rows


def table(title, rows, absent=()):
    """Return a section in Markdown."""
    lines = [f"\n## {title}\n", "| name | arguments | not supported |", "|---|---|---|"]
    for name, fine, missing in rows:
        lines.append(f"| `{name}` | {', '.join(fine) or '-'} | {', '.join(f'`{m}`' for m in missing) or '-'} |")
    if absent:
        lines.append(f"\nNot here: {', '.join(f'`{name}`' for name in sorted(absent))}.")
    return "\n".join(lines) + "\n"


def names(title, ours, theirs, without=None):
    """Return a section that only names what both have (and `without` does not)."""
    both = [n for n in sorted(vars(ours)) if n[0] != "_" and hasattr(theirs, n) and not hasattr(without, n)]
    both = [
        n
        for n in both
        if "danlu" in str(getattr(getattr(ours, n), "__module__", "danlu")) and n not in ("Tensor", "cuda")
    ]
    both = [n for n in both if not inspect.ismodule(getattr(ours, n))]
    return f"\n## {title}\n\n{', '.join(f'`{name}`' for name in both)}.\n"


def documented(module):
    """Return the names of a module's functions that PyTorch describes, without those that work in place."""
    known = {n for n, f in vars(module).items() if n.islower() and n[0] != "_" and n[-1] != "_" and callable(f)}
    return {n for n in known if re.match(rf"{n}\(.*?\)\s*->", inspect.getdoc(getattr(module, n)) or "")}


def text():
    """Return the whole file."""
    parts = [HEAD]
    for title, ours, theirs in (
        ("Layers: torch.nn", zero.nn, torch.nn),
        ("Optimizers: torch.optim", zero.optim, torch.optim),
        ("Schedules: torch.optim.lr_scheduler", zero.optim.lr_scheduler, torch.optim.lr_scheduler),
        ("Data: torch.utils.data", zero.utils.data, torch.utils.data),
    ):
        offered = getattr(theirs, "__all__", None) or [n for n in vars(theirs) if inspect.isclass(getattr(theirs, n))]
        offered = {n for n in offered if inspect.isclass(getattr(theirs, n)) and not n.startswith("_")}
        parts.append(table(title, class_rows(ours, theirs), {n for n in offered if not hasattr(ours, n)}))
    theirs = torch.nn.functional
    offered = {n for n, f in vars(theirs).items() if callable(f) and n.islower() and not n.startswith("_")}
    offered = {n for n in offered if str(getattr(getattr(theirs, n), "__module__", "")).startswith("torch.nn")}
    here = {n for n in vars(theirs) if n.islower() and callable(getattr(zero.nn.functional, n, None)) and n[0] != "_"}
    here = {n for n in here if str(getattr(getattr(zero.nn.functional, n), "__module__", "")).startswith("danlu")}
    parts.append(
        table("Functions: torch.nn.functional", function_rows(zero.nn.functional, theirs, here), offered - here)
    )
    here = {n for n in dir(zero) if callable(getattr(zero, n)) and callable(getattr(torch, n, None)) and n.islower()}
    here = {n for n in here if inspect.isfunction(getattr(zero, n)) and not n.startswith("_")}
    absent = {n for n in documented(torch) if not hasattr(zero, n)}
    parts.append(table("Functions: torch", function_rows(zero, torch, here), absent))
    parts.append(names("Methods and attributes of Tensor that are no functions", zero.Tensor, torch.Tensor, zero))
    parts.append(names("Gradients: torch.autograd", zero.autograd, torch.autograd))
    parts.append("\n`detect_anomaly` and `set_detect_anomaly` look for NaN in the forward pass, too.\n")
    parts.append(names("First values: torch.nn.init", zero.nn.init, torch.nn.init))
    parts.append(names("On parameters: torch.nn.utils", zero.nn.utils, torch.nn.utils))
    parts.append(names("Sequences of unequal length: torch.nn.utils.rnn", zero.nn.utils.rnn, torch.nn.utils.rnn))
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
