// SPDX-License-Identifier: Apache-2.0
// The run's configuration: one table of keys (name, meaning, default) from which file, environment, arguments, help
// text and the printed resolution are all made. TOML file < TUTTI_* environment < key=value arguments.
// Thread safety: values.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/nearest.h"
#include "common/result.h"

namespace tutti {

/// "2:8": a world that may shrink and grow between these numbers of workers. most == 0: a number that stays.
struct WorkerRange {
  int least = 0;
  int most = 0;
  bool is_fixed() const noexcept { return most == 0; }
  bool operator==(const WorkerRange&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(least, most);
  }
};

/// Meanings and limits of the keys stand in config_keys.cpp.
struct RunConfig {
  std::vector<std::string> program;     ///< the training program and its arguments
  int workers = 0;                      ///< 0: one for each agent (and 1 when started alone)
  WorkerRange worker_range;             ///< of the key `workers`: "2:8"; `workers` is then how many there are now
  int shards = -1;                      ///< -1: one for each host when the exchange uses shards, none otherwise
  std::string placement = "colocated";  ///< colocated, spread, dedicated: which hosts the shards go to
  std::string exchange = "auto";        ///< auto, local, shm, ps, gloo, mpi, nccl, shm+ps, shm+gloo, shm+mpi
  std::string wire_dtype = "float32";   ///< float32, bfloat16, float16: what float32 gradients travel as
  std::string launcher = "auto";        ///< auto, local, mpirun, slurm
  std::vector<std::string> hosts;       ///< "node1", "node2:4": for mpirun
  std::string interface;                ///< network interface or address; empty: loopback on one host, else the route's
  std::string ports = "0";              ///< "0": any; "5000"; "5000-5100": of the coordinator and the servers
  std::uint64_t seed = 0;
  double timeout_s = 30;  ///< every deadline derives from it
  int replacements = 3;   ///< tries without progress to replace a lost process; 0: a loss ends the run
  int restarts = 0;       ///< how often `tutti run` starts a run again whose agents were lost
  std::uint64_t bucket_bytes_max = 8u << 20;
  std::uint64_t bucket_bytes_first = 1u << 20;  ///< of the bucket that is ready first, and of the last one
  std::uint64_t chunk_bytes = 1u << 20;         ///< unit of wire, sum and placement
  int window_chunks = 4;                        ///< chunks in flight on each connection
  int connections = 1;                          ///< between a worker and a shard
  std::string transport = "auto";               ///< auto: memory within a host, TCP between hosts; tcp
  int threads = 0;                              ///< intra-op threads of a worker; 0: cores over local ranks
  bool deterministic = true;
  bool born_in_place = true;        ///< large gradients are allocated in the segment that the ranks of a host share
  bool keep_freed_memory = true;    ///< the allocator gives large blocks back late: faster on CPU
  std::string nan_policy = "skip";  ///< skip, halt, ignore: what a gradient that is not finite leads to
  int replica_check_every = 100;    ///< steps between comparisons of all ranks' parameters; 0: none
  std::string log_dir = "runs";     ///< a folder for each run is made in it
  std::string secret_file;
  std::string checkpoint_dir;            ///< where the run saves and from where it goes on; empty: nowhere
  std::uint64_t checkpoint_every = 0;    ///< steps between checkpoints; 0: none
  int checkpoint_keep = 3;               ///< newest ones
  std::string trace;                     ///< the file that becomes the run's timeline; empty: none is made
  std::string tensorboard;               ///< where rank 0 writes TensorBoard event files; empty: nowhere
  int tensorboard_histograms_every = 0;  ///< steps between histograms of the gradients; 0: none
  double progress_s = 1;                 ///< seconds between progress lines
  int monitor_port = 0;                  ///< of the live page and of /metrics; 0: any free one; -1: nothing is served
  std::string monitor_address = "127.0.0.1";  ///< where they listen

  bool operator==(const RunConfig&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(program, workers, worker_range, shards, placement, exchange, wire_dtype, launcher, hosts, interface, ports,
            seed, timeout_s, replacements, restarts, bucket_bytes_max, bucket_bytes_first, chunk_bytes, window_chunks,
            connections, transport, threads, deterministic, born_in_place, keep_freed_memory, nan_policy,
            replica_check_every, log_dir, secret_file, checkpoint_dir, checkpoint_every, checkpoint_keep, trace,
            tensorboard, tensorboard_histograms_every, progress_s, monitor_port, monitor_address);
  }
};

/// Exchanges in two stages ("shm+ps"): the ranks of a host sum in its memory, then one of each host goes on.
bool has_host_stage(std::string_view exchange) noexcept;
/// What carries the buckets from host to host: "ps" of both "shm+ps" and "ps".
std::string_view between_hosts(std::string_view exchange) noexcept;

/// What the key `ports` allows; first == 0: any free port.
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
};
/// "0", "5000" or "5000-5100"; kConfig otherwise.
Result<PortRange> parse_ports(std::string_view text);

/// A snapshot of environment variables: main takes it, nobody below reads the environment.
using Environment = std::map<std::string, std::string, std::less<>>;
Environment environment_snapshot();

/// Reads `file` (empty: none), then TUTTI_* of `environment`, then `overrides` ("key=value"). Errors: kConfig, naming
/// the key, where it stands (file:line, the variable, the argument), what was found, what is allowed, and the nearest
/// known key. TUTTI_FD, TUTTI_STATUS_FD, TUTTI_CONFIG and TUTTI_TTY are how processes of a run find each other: no
/// keys.
Result<RunConfig> load_config(const std::string& file, const Environment& environment,
                              const std::vector<std::string>& overrides);
/// The configuration as a TOML file that load_config reads back to the same.
std::string to_toml(const RunConfig& config);
/// Key, default and meaning of every key, one a line.
std::string config_help();

}  // namespace tutti
