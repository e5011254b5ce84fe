# SPDX-License-Identifier: Apache-2.0
"""PyTorch's DistributedDataParallel over Gloo, and torch.distributed.all_reduce. The ranks meet through RANK, WORLD_SIZE, MASTER_ADDR
and MASTER_PORT.

    ddp.py allreduce --bytes 4096        ddp.py step --model mlp [--hook fp16]
"""
import os
import sys

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

import measured


class Ddp:
    def __init__(self, hook):
        dist.init_process_group("gloo")
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self.hook = hook
        self.name = "ddp-gloo" + ("-fp16" if hook == "fp16" else "")
        # A gradient below 6e-5 has in 16 bits fixed places only, the last of them worth 6e-8.
        self.relative_error, self.absolute_error = (2.0**-9, 6e-8 * (self.ranks + 1)) if hook == "fp16" else (1e-6, 1.2e-38)

    def reduce(self, tensor):
        dist.all_reduce(tensor)

    def meet(self):
        dist.barrier()

    def collect(self, numbers):
        own = torch.tensor(numbers, dtype=torch.float64)
        everyone = [torch.empty_like(own) for _ in range(self.ranks)]
        dist.all_gather(everyone, own)
        return torch.cat(everyone).tolist()

    def attach(self, model, optimizer):
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        if self.hook == "fp16":
            wrapped.register_comm_hook(None, fp16_compress_hook)
        return wrapped, optimizer


def main():
    options = measured.arguments()
    torch.set_num_threads(1)
    peer = Ddp(options.hook)
    if options.bench == "allreduce":
        peer.name = "gloo-python"
    measured.run(peer, options)
    dist.barrier()
    # Without what the interpreter and Gloo's threads do to each other at their end: now and then it aborts.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
