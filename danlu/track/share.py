"""What a summary says of the machine's limit, in words."""

from collections.abc import Mapping
from typing import Any

FIGURES = {"update_s", "floor_s", "flops_per_s", "bytes_per_s", "size", "dtype"}
UNDER_MEASURED = "peak under-measured"


def share_lines(summary: Mapping[str, Any], measured_on: str) -> list[str]:
    """Return how near the machine's limit a run was, and what that was measured on; nothing where nobody measured it.

    Args:
        summary: of the run; "percent_of_limit" and "limit" are read.
        measured_on: processor, threads, version.
    """
    known, percent = summary.get("limit", {}), summary.get("percent_of_limit")
    if "not_countable" in known:
        return [f"share of the limit: not countable: {known['not_countable']}"]
    if percent is None or not known.keys() >= FIGURES:
        return []
    shape = " x ".join([str(known["size"])] * 3)
    least, took = in_ms(known["floor_s"]), in_ms(known["update_s"])
    product, copy = f"{known['flops_per_s'] / 1e9:,.0f} GFLOP/s", f"{known['bytes_per_s'] / 1e9:,.1f} GB/s"
    return [
        f"share of the limit: {in_percent(percent)}; an update took {took}, {least} at best",
        f"  best, after the run: {product} of a {shape} product in {known['dtype']}, {copy} of a copy",
        f"  on {measured_on}",
    ]


def in_percent(value: float) -> str:
    """Write a percentage with its sign; one above 100 says that the machine's best was measured too low."""
    return UNDER_MEASURED if value > 100 else f"{value:.1f} %" if value < 10 else f"{value:.0f} %"


def in_ms(seconds: float) -> str:
    """Write a time in milliseconds, three of whose digits count."""
    size = abs(1000 * seconds)
    return f"{1000 * seconds:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f} ms"
