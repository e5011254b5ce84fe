# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Several hosts on one machine: network namespaces, each with an address, a name and a wire to one bridge. Needs root. To be sourced:
#   lab_up 4            $lab is its folder, ${lab_hosts[@]} are the names; ends the script with 77, saying why, where it cannot be
#   lab_rate 1gbit      both ends of every wire carry no more
#   "$lab/on" HOST COMMAND...    with that host's network, name and list of hosts
# All of it goes when the script ends. mpirun finds the hosts by the variables that lab_mpi sets.
set -euo pipefail

readonly lab_hub=t$$hub
lab=
lab_hosts=()

lab_down() {
  local host
  for host in "${lab_hosts[@]}" "$lab_hub"; do ip netns del "$host" 2>/dev/null || true; done
  rm -rf "$lab"
}

lab_skip() {
  echo "skipped: $1" >&2
  exit 77
}

lab_up() {
  local number host
  ((EUID == 0)) || lab_skip "network namespaces need root"
  lab=$(mktemp -d)
  trap lab_down EXIT
  ip netns add "$lab_hub" 2>/dev/null || lab_skip "this kernel makes no network namespaces"
  ip -n "$lab_hub" link add bridge0 type bridge 2>/dev/null || lab_skip "this kernel makes no bridges"
  ip -n "$lab_hub" link set bridge0 up
  echo '127.0.0.1 localhost' >"$lab/hosts"
  for number in $(seq "$1"); do
    host=t$$h$number
    lab_hosts+=("$host")
    echo "10.99.0.$number $host" >>"$lab/hosts"
    ip netns add "$host"
    ip link add wire0 netns "$host" type veth peer name "wire$number" netns "$lab_hub"
    ip -n "$lab_hub" link set "wire$number" master bridge0 up
    ip -n "$host" link set lo up
    ip -n "$host" addr add "10.99.0.$number/24" dev wire0
    ip -n "$host" link set wire0 up
  done
  lab_scripts
}

lab_scripts() {
  cat >"$lab/on" <<'ON'
#!/bin/sh
host=$1; shift
exec ip netns exec "$host" unshare --uts --mount sh -c \
  'hostname "$0"; mount --bind "$1" /etc/hosts; shift; exec "$@"' "$host" "$(dirname "$0")/hosts" "$@"
ON
  # What mpirun takes for a remote shell: [options] HOST words of a command.
  cat >"$lab/remote" <<'REMOTE'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec "$(dirname "$0")/on" "$host" sh -c "$*"
REMOTE
  chmod +x "$lab/on" "$lab/remote"
}

lab_rate() {
  local number=0 host
  for host in "${lab_hosts[@]}"; do
    number=$((number + 1))
    tc -n "$host" qdisc add dev wire0 root tbf rate "$1" burst 1mb latency 50ms
    tc -n "$lab_hub" qdisc add dev "wire$number" root tbf rate "$1" burst 1mb latency 50ms
  done
}

lab_mpi() {
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
  export OMPI_MCA_plm=rsh OMPI_MCA_plm_rsh_agent=$lab/remote OMPI_MCA_btl=self,tcp
  export OMPI_MCA_btl_tcp_if_include=wire0 OMPI_MCA_oob_tcp_if_include=wire0
}
