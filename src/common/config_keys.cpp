// SPDX-License-Identifier: Apache-2.0
#include "common/config_keys.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>

namespace tutti {
namespace {

constexpr double kUnbounded = std::numeric_limits<double>::infinity();
constexpr double kManyProcesses = 65536;
constexpr int kSlotsMax = 4096;            // of one host: more than any has cores
constexpr double kLargestBlock = 1 << 30;  // what one frame carries
constexpr double kOneDay = 86400;
constexpr double kStepsMax = 1e9;

constexpr std::array<std::string_view, 10> kExchanges = {"auto", "local", "shm",    "ps",       "gloo",
                                                         "mpi",  "nccl",  "shm+ps", "shm+gloo", "shm+mpi"};
constexpr std::array<std::string_view, 3> kPlacements = {"colocated", "spread", "dedicated"};
constexpr std::array<std::string_view, 3> kWireDTypes = {"float32", "bfloat16", "float16"};
constexpr std::array<std::string_view, 2> kTransports = {"auto", "tcp"};
constexpr std::array<std::string_view, 4> kLaunchers = {"auto", "local", "mpirun", "slurm"};
constexpr std::array<std::string_view, 3> kNanPolicies = {"skip", "halt", "ignore"};

/// "a, b or c"
std::string list_of(std::span<const std::string_view> words) {
  std::string list(words.front());
  for (std::size_t i = 1; i < words.size(); ++i) {
    list += i + 1 < words.size() ? ", " : " or ";
    list += words[i];
  }
  return list;
}

template <const auto& words>
std::string check_word(std::string_view value) {
  return std::ranges::count(words, value) != 0 ? "" : "expected " + list_of(words);
}

std::string check_ports(std::string_view value) {
  const auto range = parse_ports(value);
  return range ? "" : range.error().message;
}

// Each slot becomes an agent: there is at least one, and a slip of the finger does not cost all memory.
bool is_slots(std::string_view digits) {
  int slots = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, slots);
  return error == std::errc{} && stop == end && 1 <= slots && slots <= kSlotsMax;
}

// Hosts end up in an argument of mpirun: nothing that could be read as an option or as a list gets there.
std::string check_host(std::string_view value) {
  const std::size_t colon = std::min(value.find(':'), value.size());
  const std::string_view name = value.substr(0, colon), slots = value.substr(colon);
  const auto is_digit = [](char c) { return '0' <= c && c <= '9'; };
  const auto is_alnum = [&](char c) { return is_digit(c) || ('a' <= (c | 32) && (c | 32) <= 'z'); };
  const bool name_ok = !name.empty() && is_alnum(name[0]) && std::ranges::all_of(name, [&](char c) {
    return is_alnum(c) || c == '.' || c == '-' || c == '_';
  });
  return name_ok && (slots.empty() || is_slots(slots.substr(1))) ? ""
                                                                 : "expected host names, each with :slots or without";
}

std::string check_address(std::string_view value) {
  std::array<unsigned char, 4> address;
  const std::string text(value);
  return ::inet_pton(AF_INET, text.c_str(), address.data()) == 1 ? "" : "expected an IPv4 address in numbers";
}

using C = RunConfig;
constexpr auto kKeys = std::to_array<ConfigKey>({
    {"program", "the training program and its arguments", &C::program},
    {"workers", "worker processes; 0: one for each agent; \"2:8\": from 2 to 8, as there is room", ConfigKey::Workers{},
     0, kManyProcesses},
    {"shards", "parameter servers; -1: one for each host if the exchange is ps or shm+ps", &C::shards, -1,
     kManyProcesses},
    {"placement", "of shards: colocated (on hosts with workers), spread (on all) or dedicated (apart from workers)",
     &C::placement, 0, 0, check_word<kPlacements>},
    {"exchange", "auto, local, shm, ps, gloo, mpi, nccl, shm+ps, shm+gloo or shm+mpi", &C::exchange, 0, 0,
     check_word<kExchanges>},
    {"wire_dtype", "what float32 gradients travel as: float32, bfloat16 or float16", &C::wire_dtype, 0, 0,
     check_word<kWireDTypes>},
    {"launcher", "auto, local, mpirun or slurm", &C::launcher, 0, 0, check_word<kLaunchers>},
    {"hosts", "for mpirun: node1, node2:4", &C::hosts, 0, 0, check_host, ','},
    {"interface", "network interface or address to use; empty: loopback on one host", &C::interface},
    {"ports", "of coordinator and servers: 0 (any), 5000 or 5000-5100", &C::ports, 0, 0, check_ports},
    {"seed", "of all random numbers", &C::seed, 0, kUnbounded},
    {"timeout_s", "seconds after which a silent peer is lost; every deadline derives from it", &C::timeout_s, 0.1,
     kOneDay},
    {"replacements",
     "tries, without a step of progress between them, to replace a lost process; 0: a loss ends the run",
     &C::replacements, 0, 1000},
    {"restarts", "how often `tutti run` starts a run again that lost its agents", &C::restarts, 0, 1000},
    {"bucket_bytes_max", "gradients that travel together", &C::bucket_bytes_max, 1, kLargestBlock},
    {"bucket_bytes_first", "the same for the first and the last bucket", &C::bucket_bytes_first, 1, kLargestBlock},
    {"chunk_bytes", "unit of wire, sum and placement on servers", &C::chunk_bytes, 64, kLargestBlock},
    {"window_chunks", "chunks in flight on a connection from a worker to a server", &C::window_chunks, 1, 65536},
    {"connections", "from each worker to each server", &C::connections, 1, 16},
    {"transport", "between workers and servers: auto (shared memory within a host) or tcp", &C::transport, 0, 0,
     check_word<kTransports>},
    {"threads", "threads of a worker's operators; 0: cores over local ranks", &C::threads, 0, 65536},
    {"deterministic", "the same bits on every run, at some cost", &C::deterministic},
    {"born_in_place", "shm: large gradients are allocated in the shared segment and never copied there",
     &C::born_in_place},
    {"keep_freed_memory", "give large freed blocks back to the system late: faster steps on CPU",
     &C::keep_freed_memory},
    {"nan_policy", "of gradients that are not finite: skip the step, halt, or ignore", &C::nan_policy, 0, 0,
     check_word<kNanPolicies>},
    {"replica_check_every", "steps between comparisons of all ranks' parameters; 0: none", &C::replica_check_every, 0,
     kStepsMax},
    {"log_dir", "where each run makes its folder", &C::log_dir},
    {"secret_file", "the job's secret, for networks where the launcher's is not trusted", &C::secret_file},
    {"checkpoint_dir", "where rank 0 saves and from where every rank goes on; empty: nowhere", &C::checkpoint_dir},
    {"checkpoint_every", "steps between checkpoints; 0: none", &C::checkpoint_every, 0, kUnbounded},
    {"checkpoint_keep", "so many of the newest checkpoints stay", &C::checkpoint_keep, 1, 1000000},
    {"trace", "the file for the run's timeline, in Chrome's trace format; empty: none", &C::trace},
    {"tensorboard", "where rank 0 writes TensorBoard event files; empty: nowhere", &C::tensorboard},
    {"tensorboard_histograms_every", "steps between histograms of each parameter's gradient; 0: none",
     &C::tensorboard_histograms_every, 0, kStepsMax},
    {"progress_s", "seconds between progress lines", &C::progress_s, 0, kOneDay},
    {"monitor_port", "of the live page and of /metrics; 0: any free one; -1: nothing is served", &C::monitor_port, -1,
     65535},
    {"monitor_address", "the address they are served at: the network's own for other machines", &C::monitor_address, 0,
     0, check_address},
});

// The whole of `text` as a number, else the text.
template <class Number>
ConfigValue number_or_text(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size()) return number;
  return std::string(text);
}

}  // namespace

std::span<const ConfigKey> config_keys() {
  return kKeys;
}

const ConfigKey* find_config_key(std::string_view name) {
  const auto found = std::ranges::find(kKeys, name, &ConfigKey::name);
  return found == kKeys.end() ? nullptr : &*found;
}

ConfigValue parse_config_value(const ConfigKey& key, std::string_view text) {
  struct Parser {
    std::string_view text;
    ConfigValue operator()(bool C::*) const {
      if (text == "true" || text == "1") return true;
      if (text == "false" || text == "0") return false;
      return std::string(text);
    }
    ConfigValue operator()(int C::*) const { return number_or_text<std::int64_t>(text); }
    ConfigValue operator()(ConfigKey::Workers) const { return number_or_text<std::int64_t>(text); }
    ConfigValue operator()(std::uint64_t C::*) const { return number_or_text<std::int64_t>(text); }
    ConfigValue operator()(double C::*) const { return number_or_text<double>(text); }
    ConfigValue operator()(std::string C::*) const { return std::string(text); }
    ConfigValue operator()(std::vector<std::string> C::*) const { return std::string(text); }
  };
  return std::visit(Parser{text}, key.field);
}

}  // namespace tutti
