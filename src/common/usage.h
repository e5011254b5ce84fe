// SPDX-License-Identifier: Apache-2.0
// What a process uses of its machine.
// Thread safety: a UsageMeter is owned by one thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/clock.h"

namespace tutti {

struct Usage {
  std::uint64_t memory_bytes = 0;  ///< resident, of this process
  Duration cpu{};                  ///< of all its threads, so far
  /// Of the GPU it trains on, all processes on it together; without it where there is none.
  std::optional<std::uint64_t> gpu_memory_bytes = {};
  std::optional<double> gpu_utilization = {};  ///< 0 to 1: the part of the last moment in which it was busy

  template <class Archive>
  void serialize(Archive& archive) {
    std::int64_t cpu_ns = cpu.count();
    archive(memory_bytes, cpu_ns, gpu_memory_bytes, gpu_utilization);
    cpu = Duration(cpu_ns);
  }
};

class UsageMeter {
 public:
  /// `gpu`: the PCI bus id of the GPU to look at, as "0000:3b:00.0"; empty: none. A driver without NVML has no figures.
  explicit UsageMeter(const std::string& gpu = {});
  ~UsageMeter();
  Usage read() const;

 private:
  class Gpu;
  std::unique_ptr<Gpu> gpu_;  // null: none
};

}  // namespace tutti
