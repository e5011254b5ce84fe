// SPDX-License-Identifier: Apache-2.0
// Ranks of one host, as threads of the test, each with an exchange over shared memory.
#pragma once

#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/host_memory.h"
#include "worker/exchange_shm.h"

namespace tutti::worker {

class ShmRanks {
 public:
  explicit ShmRanks(std::uint32_t ranks, bool shares_back = false) : ranks_(ranks) {
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
      exchanges_.push_back(std::make_unique<ShmExchange>(
          ShmOptions{keeper_name_, {rank, ranks}, "testhost", /*has_cores=*/ranks <= 2, shares_back}, clock_));
    }
  }

  std::uint32_t size() const { return ranks_; }
  ShmExchange& operator[](std::uint32_t rank) { return *exchanges_[rank]; }
  Deadline in(Duration time) const { return clock_.now() + time; }
  /// Runs `body` as every rank at once.
  void run(const std::function<void(std::uint32_t rank, ShmExchange& exchange)>& body) {
    std::vector<std::jthread> threads;
    for (std::uint32_t rank = 0; rank < ranks_; ++rank) {
      threads.emplace_back([this, &body, rank] { body(rank, *exchanges_[rank]); });
    }
  }

 private:
  static std::string fresh_name() {
    static int number = 0;
    return "tutti-shm-test-" + std::to_string(::getpid()) + "-" + std::to_string(number++);
  }

  const std::uint32_t ranks_;
  const std::string keeper_name_ = fresh_name();
  const SteadyClock clock_;
  Loop loop_;
  const std::unique_ptr<SegmentKeeper> keeper_ = SegmentKeeper::start(loop_, keeper_name_, Logger::none()).value();
  std::vector<std::unique_ptr<ShmExchange>> exchanges_;
};

}  // namespace tutti::worker
