#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs over two hosts: network namespaces with an address, a host name and a wire between them, which needs root (77: skipped without).
# The same bits must come out of a managed run through a parameter server on both hosts and of one process; a managed run over Gloo and
# an embedded one over MPI must find the wire, too; and so must the exchanges in two stages, with two ranks on each host.
#   two_hosts_test.sh BIN_FOLDER
set -euo pipefail
bin=$1

((EUID == 0)) || { echo "skipped: network namespaces need root"; exit 77; }
folder=$(mktemp -d)
id=$$
a=ta$id b=tb$id
cleanup() {
  ip netns del "$a" 2>/dev/null || true
  ip netns del "$b" 2>/dev/null || true
  rm -rf "$folder"
}
trap cleanup EXIT
ip netns add "$a" 2>/dev/null || { echo "skipped: this kernel makes no network namespaces"; exit 77; }
ip netns add "$b"
ip link add wire0 netns "$a" type veth peer name wire0 netns "$b"
printf '127.0.0.1 localhost\n10.99.0.1 %s\n10.99.0.2 %s\n' "$a" "$b" >"$folder/hosts"
number=1
for host in "$a" "$b"; do
  ip -n "$host" link set lo up
  ip -n "$host" addr add "10.99.0.$number/24" dev wire0
  ip -n "$host" link set wire0 up
  number=$((number + 1))
done

# on HOST COMMAND...: with that host's network, name and list of hosts.
cat >"$folder/on" <<'ON'
#!/bin/sh
host=$1; shift
exec ip netns exec "$host" unshare --uts --mount sh -c \
  'hostname "$0"; mount --bind "$1" /etc/hosts; shift; exec "$@"' "$host" "$(dirname "$0")/hosts" "$@"
ON
# What mpirun takes for a remote shell: [options] HOST words of a command.
cat >"$folder/remote" <<'REMOTE'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec "$(dirname "$0")/on" "$host" sh -c "$*"
REMOTE
chmod +x "$folder/on" "$folder/remote"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
export OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent=$folder/remote OMPI_MCA_btl=self,tcp
export OMPI_MCA_btl_tcp_if_include=wire0 OMPI_MCA_oob_tcp_if_include=wire0
cd "$folder"

# hash NAME COMMAND...: the hash that a run on the first host printed.
hash() {
  local name=$1
  shift
  timeout 90 "$folder/on" "$a" "$@" >"$name.out" 2>&1 || { echo "$name failed:" >&2; cat "$name.out" >&2; return 1; }
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
