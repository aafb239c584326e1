"""What measures danlu beside other trainers, on one machine and in one run.

`make bench` runs `python -m bench.peers`; nothing in danlu knows of this package.
"""
