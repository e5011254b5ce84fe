# SPDX-License-Identifier: Apache-2.0
"""Horovod over MPI: its optimizer for steps, its allreduce for rounds.

    mpirun -np 2 python3 horovod_bench.py allreduce --bytes 4096        ... step --model mlp
"""
import sys

import horovod.torch as hvd
import torch

import measured


class Horovod:
    name = "horovod-mpi"
    relative_error, absolute_error = 1e-6, 1.2e-38

    def __init__(self):
        hvd.init()
        self.rank, self.ranks = hvd.rank(), hvd.size()

    def reduce(self, tensor):
        # One name for each size: Horovod keeps what it has learnt about a tensor under its name.
        hvd.allreduce_(tensor, op=hvd.Sum, name=f"bytes{tensor.numel()}")

    def meet(self):
        hvd.allreduce(torch.zeros(1), name="meet")

    def collect(self, numbers):
        return hvd.allgather(torch.tensor(numbers, dtype=torch.float64), name=f"collect{len(numbers)}").tolist()

    def attach(self, model, optimizer):
        hvd.broadcast_parameters(model.state_dict(), root_rank=0)
        return model, hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())


def main():
    options = measured.arguments()
    torch.set_num_threads(1)
    measured.run(Horovod(), options)


if __name__ == "__main__":
    sys.exit(main())
