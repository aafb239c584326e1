"""How the names in a source of weights find those of a model: what wrappers add to them, and a caller's patterns."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from danlu.errors import RecipeError, nearest

WRAPPED = "module"  # by DataParallel, DistributedDataParallel and AveragedModel, before every name
COMPILED = "_orig_mod"  # by torch.compile, wherever a module was compiled


def paired(given: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return which of the model's names each name of a source stands for, where it stands for one.

    An equal name wins; else names are compared without what wrappers add, on either side.
    """
    given, wanted = list(given), set(wanted)
    pairs = {name: name for name in given if name in wanted}
    counts = Counter(map(_bare, wanted))
    free = {_bare(name): name for name in wanted - pairs.keys() if counts[_bare(name)] == 1}
    for name in given:
        if name not in pairs and _bare(name) in free:
            pairs[name] = free.pop(_bare(name))
    return pairs


def _bare(name: str) -> str:
    parts = [part for part in name.split(".") if part != COMPILED]
    while parts[1:] and parts[0] == WRAPPED:
        del parts[0]
    return ".".join(parts)


def renamed(names: Iterable[str], patterns: Mapping[str, str]) -> dict[str, str]:
    """Return the new name of each name; those that are to be left out are missing.

    Args:
        names: a source's.
        patterns: what stands instead of a name that a pattern matches whole; the first that matches holds. Each `*`
            of a pattern stands for any letters, and each `*` of what stands instead for the same ones, in order. ""
            leaves the name out.

    Raises:
        RecipeError: a pattern matches nothing, has fewer `*` than what stands instead, or makes two names one.
    """
    names = list(names)
    rules = [(_rule(pattern, new), new) for pattern, new in patterns.items()]
    found: dict[str, str] = {}
    for name in names:
        hit = next(((match, new) for rule, new in rules if (match := rule.fullmatch(name))), None)
        if hit is None:
            found[name] = name
        elif hit[1]:
            found[name] = _filled(hit[1], hit[0].groups())
    _check_used(names, {pattern: rule for pattern, (rule, _) in zip(patterns, rules, strict=True)})
    twice = [new for new, count in Counter(found.values()).items() if count > 1]
    if twice:
        both = " and ".join(name for name, new in found.items() if new == twice[0])
        fix = 'leave one of them out: rename it to ""'
        raise RecipeError(where="weights.rename", got=f"{both} as {twice[0]}", want="one name for each", fix=fix)
    return found


def _rule(pattern: str, new: str) -> re.Pattern[str]:
    if new.count("*") > pattern.count("*"):
        fix = "write as many * in the pattern"
        raise RecipeError(where=f"weights.rename.{pattern}", got=new, want="a * for each * of the pattern", fix=fix)
    return re.compile("(.*)".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def _filled(new: str, stars: tuple[str, ...]) -> str:
    first, *rest = new.split("*")
    return first + "".join(star + part for star, part in zip(stars, rest, strict=False))


def _check_used(names: list[str], rules: Mapping[str, re.Pattern[str]]) -> None:
    for pattern, rule in rules.items():
        if not any(map(rule.fullmatch, names)):
            close = nearest(pattern, names) or names[:3]
            want, fix = "a pattern that matches a name in the source", f"its names are such as {', '.join(close)}"
            raise RecipeError(where="weights.rename", got=repr(pattern), want=want, fix=fix)
