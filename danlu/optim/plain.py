"""Python values as JSON can hold them, and back to what they were."""

from collections import Counter
from typing import Any

_TAGS = ("__tuple__", "__counter__", "__pairs__")


def encode(value: object) -> Any:
    """Return `value` out of dicts with string keys, lists, strings, numbers, true, false and null alone.

    Tuples, counters and dicts with other keys become a dict with one tagged key. Floats that are not finite stay
    floats.

    Raises:
        TypeError: it holds something else.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple):
        return {"__tuple__": [encode(item) for item in value]}
    if isinstance(value, dict):
        return _encode_dict(value)
    raise TypeError(f"a {type(value).__name__}")


def decode(value: Any) -> Any:
    """Return what `encode` was given."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and next(iter(value)) in _TAGS:
        tag, items = next(iter(value.items()))
        content = [decode(item) for item in items]
        if tag == "__tuple__":
            return tuple(content)
        return Counter(dict(content)) if tag == "__counter__" else dict(content)
    return {key: decode(item) for key, item in value.items()}


def _encode_dict(value: dict[Any, Any]) -> Any:
    pairs = [{"__tuple__": [encode(key), encode(item)]} for key, item in value.items()]
    if isinstance(value, Counter):
        return {"__counter__": pairs}
    plain = all(isinstance(key, str) for key in value) and value.keys().isdisjoint(_TAGS)
    return {key: encode(item) for key, item in value.items()} if plain else {"__pairs__": pairs}
