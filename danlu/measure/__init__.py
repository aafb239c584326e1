"""What is tried out before training starts: the fastest plan, and whether a run can be killed and resumed.

It must never know hooks, the command line, or what a run folder holds.
"""

from danlu.measure.planning import keep_plan, pin
from danlu.measure.rehearsal import rehearse
from danlu.measure.search import LIMIT_S

__all__ = ["LIMIT_S", "keep_plan", "pin", "rehearse"]
