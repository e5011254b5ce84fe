#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs over two hosts: network namespaces with an address, a host name and a wire between them, which needs root (77: skipped without).
# The same bits must come out of a managed run through a parameter server on both hosts and of one process; a managed run over Gloo and
# an embedded one over MPI must find the wire, too; and so must the exchanges in two stages, with two ranks on each host.
#   two_hosts_test.sh BIN_FOLDER
source "$(dirname "${BASH_SOURCE[0]}")/namespaces.sh"
bin=$1

lab_up 2
lab_mpi
a=${lab_hosts[0]} b=${lab_hosts[1]}
cd "$lab"

# hash NAME COMMAND...: the hash that a run on the first host printed.
hash() {
  local name=$1
  shift
  timeout 90 "$lab/on" "$a" "$@" >"$name.out" 2>&1 || { echo "$name failed:" >&2; cat "$name.out" >&2; return 1; }
  sed -n 's/.*hash=\([0-9a-f]*\).*/\1/p' "$name.out"
}
managed=("$bin/tutti" run launcher=mpirun "hosts=$a:1,$b:1" interface=wire0)
reference=$(hash reference "$bin/test_exacting" --reference 2)
[[ ${#reference} == 64 ]]

[[ $(hash ps "${managed[@]}" exchange=ps shards=2 -- "$bin/test_exacting") == "$reference" ]]
grep -q '2 shards, 2 hosts' ps.out
# Two numbers have one sum: on two ranks every exchange gives these bits.
[[ $(hash gloo "${managed[@]}" exchange=gloo -- "$bin/test_exacting") == "$reference" ]]
for exchange in mpi gloo; do
  [[ $(TUTTI_EXCHANGE=$exchange TUTTI_INTERFACE=wire0 hash "embedded-$exchange" mpirun --bind-to none --host "$a:1,$b:1" -np 2 \
    -x TUTTI_EXCHANGE -x TUTTI_INTERFACE -x OMP_NUM_THREADS "$bin/test_exacting") == "$reference" ]]
done

# Two ranks on each host that sum there first: the bits of one process that adds the ranks' gradients in that order.
stages_reference=$(hash stages_reference "$bin/test_exacting" --reference 4 --host-size 2)
[[ ${#stages_reference} == 64 && $stages_reference != "$(hash flat_reference "$bin/test_exacting" --reference 4)" ]]
stages=("$bin/tutti" run launcher=mpirun "hosts=$a:2,$b:2" interface=wire0)
[[ $(hash shm+ps "${stages[@]}" exchange=shm+ps -- "$bin/test_exacting") == "$stages_reference" ]]
grep -q '2 shards, 2 hosts' shm+ps.out
# The default of each way to run without servers.
[[ $(hash shm+gloo "${stages[@]}" shards=0 -- "$bin/test_exacting") == "$stages_reference" ]]
[[ $(TUTTI_INTERFACE=wire0 hash shm+mpi mpirun --bind-to none --host "$a:2,$b:2" -np 4 \
  -x TUTTI_INTERFACE -x OMP_NUM_THREADS "$bin/test_exacting") == "$stages_reference" ]]
for exchange in shm+ps shm+gloo shm+mpi; do grep -q "exchange=$exchange\$" "$exchange.out"; done
for exchange in shm+gloo shm+mpi; do grep -q "exchange $exchange runs on 10.99.0.1 without proof" "$exchange.out"; done
echo "two hosts: ps, gloo, embedded mpi and gloo give $reference"
echo "two ranks on each: shm+ps, shm+gloo and shm+mpi give $stages_reference"
