"""What measures danlu beside other trainers and loaders, on one machine and in one run.

`make bench` runs `python -m bench.peers`, `make busy`, `make data` and `make scale` the modules of those names; nothing
in danlu knows of this package.
"""
