// SPDX-License-Identifier: Apache-2.0
// Threads that help with one sum at a time: it is cut into even parts, the caller does one of them and waits for the
// others. Elements are independent of each other, so the bits do not depend on where the cuts are.
// Thread safety: run() on one thread at a time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tutti::ps {

class SumThreads {
 public:
  using Work = std::function<void(std::size_t offset, std::size_t bytes)>;

  /// `helpers` threads beside the caller, kHelpersMax at most; 0: none.
  explicit SumThreads(int helpers);
  ~SumThreads();
  SumThreads(const SumThreads&) = delete;
  SumThreads& operator=(const SumThreads&) = delete;

  /// As many as leave the workers' cores alone: a quarter of this machine's, less the caller's, three at most.
  static int helpers_for(unsigned cores) noexcept;
  static constexpr int kHelpersMax = 3;  // more than four cores ask for more bytes than memory gives

  /// Calls `work` for parts that make up [0, bytes), one a thread at most, cut at multiples of `unit` bytes; returns
  /// when all are done. What is too short to be worth a wake-up is one part.
  void run(std::size_t bytes, std::size_t unit, const Work& work);

 private:
  void help(std::size_t index);
  void do_part(std::size_t index);

  std::mutex mutex_;
  std::condition_variable begun_, done_;
  const Work* work_ = nullptr;        // guarded by mutex_
  std::size_t bytes_ = 0;             // guarded by mutex_
  std::size_t unit_ = 1;              // guarded by mutex_
  std::uint64_t number_ = 0;          // of the sum; guarded by mutex_
  std::size_t helping_ = 0;           // helpers that are not done; guarded by mutex_
  bool ending_ = false;               // guarded by mutex_
  std::vector<std::thread> helpers_;  // constant after construction
};

}  // namespace tutti::ps
