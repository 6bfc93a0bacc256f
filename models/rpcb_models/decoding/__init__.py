"""What runs in a decoder's process: a stranger's recording -> samples.

`rpcb_models.audio` starts such processes and talks to them. Nothing here imports more than libav, numpy and
soxr, so that a process is small.
"""
