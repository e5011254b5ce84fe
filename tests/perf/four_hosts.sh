#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One measurement on four hosts that are joined at 1 Gbit/s: training steps of the mlp, one rank a host. The hosts are network
# namespaces, so all four share this machine's cores. Prints one line as `tutti bench --json` does; 77 where it cannot be measured.
#   four_hosts.sh tutti|tutti-bf16|ddp|ddp-fp16 ROUNDS BIN_FOLDER PYTHON
source "$(dirname "${BASH_SOURCE[0]}")/../lab/namespaces.sh"
what=$1 rounds=$2 bin=$3 python=$4
peers=$(cd "$(dirname "${BASH_SOURCE[0]}")/peers" && pwd)

# ours KEY=VALUE... OPTION...
ours() {
  local hosts
  hosts=$(printf ',%s:1' "${lab_hosts[@]}")
  "$lab/on" "${lab_hosts[0]}" "$bin/tutti" bench step --model mlp --rounds "$rounds" --json "hosts=${hosts:1}" interface=wire0 \
    log_dir="$lab/runs" "$@"
}

# ddp OPTION...: rank 0's output.
ddp() {
  local rank pids=() status=0 pid
  export WORLD_SIZE=4 MASTER_ADDR=10.99.0.1 MASTER_PORT=29500 GLOO_SOCKET_IFNAME=wire0 PYTHONDONTWRITEBYTECODE=1
  for rank in 1 2 3; do
    RANK=$rank "$lab/on" "${lab_hosts[rank]}" "$python" "$peers/ddp.py" step --model mlp --rounds "$rounds" "$@" >/dev/null &
    pids+=($!)
  done
  RANK=0 "$lab/on" "${lab_hosts[0]}" "$python" "$peers/ddp.py" step --model mlp --rounds "$rounds" "$@" || status=$?
  for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
  return "$status"
}

lab_up 4
lab_rate 1gbit
lab_mpi
cd "$lab"
# Half the bits, rounded on the way to the sum and back: eight bits of fraction each time.
case $what in
  tutti) ours ;;
  tutti-bf16) ours --tolerance 0.016 wire_dtype=bfloat16 ;;
  ddp) ddp ;;
  ddp-fp16) ddp --hook fp16 ;;
  *)
    echo "found '$what'; usage: four_hosts.sh tutti|tutti-bf16|ddp|ddp-fp16 ROUNDS BIN_FOLDER PYTHON" >&2
    exit 64
    ;;
esac
