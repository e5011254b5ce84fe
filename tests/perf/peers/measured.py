# SPDX-License-Identifier: Apache-2.0
"""What the peers in Python share: the rounds and steps of `tutti bench` (launch/bench/rounds.h and step.h say how each is timed), on
the same models and inputs, checked to the last element, told as the same JSON lines."""
import argparse
import json
import math
import time

import torch

GATE_ELEMENTS = 16
BATCH_BYTES, BATCH_MAX = 256 << 10, 64
WARM_UPS = 3
BATCHES_MIN, BATCHES_MAX = 20, 2000
INPUTS = 3
BLOCK = 5
DEFAULT_ROUNDS = 20


class Mlp(torch.nn.Module):
    WIDTHS = [784, 2048, 2048, 2048, 2048, 2048, 2048, 10]
    INPUT = [32, 784]

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(self.WIDTHS, self.WIDTHS[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


class Lenet(torch.nn.Module):
    INPUT = [64, 1, 28, 28]

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(1, 32, 3), torch.nn.Conv2d(32, 64, 3)
        self.fc1, self.fc2 = torch.nn.Linear(9216, 128), torch.nn.Linear(128, 10)

    def forward(self, x):
        x = torch.max_pool2d(torch.relu(self.conv2(torch.relu(self.conv1(x)))), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def make_model(name):
    torch.manual_seed(1)
    return {"mlp": Mlp, "lenet": Lenet}[name]()


def make_batch(model, rank, number):
    torch.manual_seed(1000 * (number + 1) + rank)
    return torch.rand(model.INPUT), torch.randint(10, (model.INPUT[0],))


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench", choices=["allreduce", "step"])
    parser.add_argument("--bytes", default="")
    parser.add_argument("--model", choices=["mlp", "lenet"], default="mlp")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--hook", choices=["none", "fp16"], default="none", help="DDP's compression")
    parser.add_argument("--json", action="store_true", help="the only output there is")
    parsed = parser.parse_args()
    parsed.bytes = [int(size) for size in parsed.bytes.split(",") if size]
    return parsed


def percentile(samples, percent):
    return sorted(samples)[max(math.ceil(percent / 100 * len(samples)), 1) - 1]


def tell(peer, bench, samples, size, model=None, exposed_us=None, **more):
    if peer.rank != 0:
        return
    p50 = percentile(samples, 50)
    print(json.dumps({"bench": bench, "exchange": peer.name, "transport": "auto", "ranks": peer.ranks, "shards": 0, "bytes": size,
                      "model": model, "p50_us": p50, "p99_us": percentile(samples, 99), "bytes_per_s": size / p50 * 1e6,
                      "exposed_us": exposed_us, "min_us": min(samples), "max_us": max(samples)} | more), flush=True)


class Pattern:
    """Whole numbers whose sums are exact; two sets in turn, so that a result of the round before is a wrong one."""

    def __init__(self, peer, elements):
        index = torch.arange(elements, dtype=torch.int64)
        self.inputs, self.sums = [], []
        for number in range(2):
            values = ((index + 7919 * number) * 2654435761 % 2**32 >> 22).float()
            self.inputs.append(values * (2 * peer.rank + 1) + peer.rank**2)
            self.sums.append(values * sum(2 * r + 1 for r in range(peer.ranks)) + sum(r**2 for r in range(peer.ranks)))


def one_round(peer, tensors, pattern, gate, number):
    for b, tensor in enumerate(tensors):
        tensor.copy_(pattern.inputs[(number + b) % 2])
    peer.reduce(gate)
    begin = time.perf_counter()
    for tensor in tensors:
        peer.reduce(tensor)
    taken = time.perf_counter() - begin
    peer.reduce(gate)  # who is done early leaves its core to the others until all have taken their time
    for b, tensor in enumerate(tensors):
        if not torch.equal(tensor, pattern.sums[(number + b) % 2]):
            wrong = int((tensor != pattern.sums[(number + b) % 2]).nonzero()[0])
            raise AssertionError(f"rank {peer.rank}: element {wrong} of {tensor.numel()} is {tensor[wrong]} after round {number}")
    return taken * 1e6 / len(tensors)


def measure_rounds(peer, size, rounds):
    batch = min(max(BATCH_BYTES // size, 1), BATCH_MAX)
    pattern = Pattern(peer, size // 4)
    tensors = [torch.empty(size // 4) for _ in range(batch)]
    gate = torch.zeros(GATE_ELEMENTS)
    warm_up = [one_round(peer, tensors, pattern, gate, number) for number in range(WARM_UPS)]
    slowest = max(peer.collect(warm_up[-1:]))
    rounds = rounds or min(max(math.ceil(1e6 / (slowest * batch)), BATCHES_MIN), BATCHES_MAX)
    own = [one_round(peer, tensors, pattern, gate, number) for number in range(WARM_UPS, WARM_UPS + rounds)]
    everyone = peer.collect(own)
    samples = [max(everyone[i::rounds]) for i in range(rounds)]
    tell(peer, "allreduce", samples, size, bus_bytes_per_s=size / percentile(samples, 50) * 2e6 * (peer.ranks - 1) / peer.ranks,
         batches=rounds, batch=batch)


class Trainee:
    def __init__(self, name):
        self.model = make_model(name)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.0)


def loss_of(forward, batch):
    return torch.nn.functional.cross_entropy(forward(batch[0]), batch[1])


def expect(trainee, ranks, number):
    """The average of every rank's gradients of this input, and their mean magnitude."""
    average, magnitude = [], []
    for rank in range(ranks):
        trainee.optimizer.zero_grad()
        loss_of(trainee.model, make_batch(trainee.model, rank, number)).backward()
        for p, parameter in enumerate(trainee.model.parameters()):
            if rank == 0:
                average.append(parameter.grad.clone())
                magnitude.append(parameter.grad.abs())
            else:
                average[p] += parameter.grad
                magnitude[p] += parameter.grad.abs()
    return [a / ranks for a in average], [m / ranks for m in magnitude]


def check(peer, trainee, expected):
    for (name, parameter), average, magnitude in zip(trainee.model.named_parameters(), *expected):
        allowed = magnitude * peer.relative_error + peer.absolute_error
        right = (parameter.grad - average).abs() <= allowed
        if not bool(right.all()):
            wrong = int((~right).flatten().nonzero()[0])
            raise AssertionError(f"rank {peer.rank}: element {wrong} of the gradient of {name} is "
                                 f"{parameter.grad.flatten()[wrong]}, expected {average.flatten()[wrong]}")


class StepTimes:
    def __init__(self):
        self.step, self.forward, self.backward, self.optimizer = [], [], [], []

    def add(self, begin, forwarded, backwarded, end):
        for times, taken in ((self.step, end - begin), (self.forward, forwarded - begin), (self.backward, backwarded - forwarded),
                             (self.optimizer, end - backwarded)):
            times.append(taken * 1e6)


def one_step(peer, forward, optimizer, batch, times):
    peer.meet()
    begin = time.perf_counter()
    optimizer.zero_grad()
    loss = loss_of(forward, batch)
    forwarded = time.perf_counter()
    loss.backward()
    backwarded = time.perf_counter()
    optimizer.step()
    times.add(begin, forwarded, backwarded, time.perf_counter())


def measure_step(peer, name, rounds):
    together, alone = Trainee(name), Trainee(name)
    inputs = [make_batch(alone.model, peer.rank, number) for number in range(INPUTS)]
    expected = [expect(alone, peer.ranks, number) for number in range(INPUTS)]
    forward, optimizer = peer.attach(together.model, together.optimizer)
    steps = 0

    def block(count, averaged, times):
        nonlocal steps
        for _ in range(count):
            number = steps % INPUTS
            steps += 1
            if averaged:
                one_step(peer, forward, optimizer, inputs[number], times)
                check(peer, together, expected[number])
            else:
                one_step(peer, alone.model, alone.optimizer, inputs[number], times)

    block(WARM_UPS, True, StepTimes())
    block(WARM_UPS, False, StepTimes())
    with_exchange, without = StepTimes(), StepTimes()
    rounds = rounds or DEFAULT_ROUNDS
    for done in range(0, rounds, BLOCK):
        block(min(BLOCK, rounds - done), True, with_exchange)
        block(min(BLOCK, rounds - done), False, without)

    samples = peer.collect(with_exchange.step)
    median = {key: percentile(peer.collect(times), 50) for key, times in (
        ("alone_us", without.step), ("forward_us", with_exchange.forward), ("backward_us", with_exchange.backward),
        ("optimizer_us", with_exchange.optimizer), ("alone_forward_us", without.forward), ("alone_optimizer_us", without.optimizer))}
    size = sum(p.numel() * p.element_size() for p in together.model.parameters())
    tell(peer, "step", samples, size, name, percentile(samples, 50) - median["alone_us"], **median, rounds=rounds)


def run(peer, options):
    for size in options.bytes:
        measure_rounds(peer, size, options.rounds)
    if options.bench == "step":
        measure_step(peer, options.model, options.rounds)
