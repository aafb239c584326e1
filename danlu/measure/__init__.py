"""What is tried out before training starts: here the rehearsal, which proves that a run can be killed and resumed.
It must never know hooks, the command line, or what a run folder holds.
"""

from danlu.measure.rehearsal import rehearse

__all__ = ["rehearse"]
