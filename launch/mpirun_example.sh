#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A managed run on hosts of your own: mpirun starts one agent for each slot, each agent starts its worker, shards are spread over the
# hosts. `tutti` is found in PATH; it, the configuration and the program lie under the same paths on every host.
#
#   HOSTS=node1:4,node2:4 launch/mpirun_example.sh configs/mnist.toml [key=value ...]
#
# `tutti run CONFIG hosts=node1:4,node2:4` makes this same line itself. On hosts with several networks say which: interface=ib0.
set -euo pipefail

# Agents only watch: they need no core of their own, and no shared memory whose files would outlive them.
exec mpirun --host "${HOSTS:-localhost:2}" --oversubscribe --bind-to none --mca btl self,tcp tutti run "$@"
