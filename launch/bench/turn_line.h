// SPDX-License-Identifier: Apache-2.0
// Between two runs on the same cores that take turns, so that both are measured at the same time and neither disturbs
// the other: two named pipes in a folder, held by rank 0 of each run.
// Thread safety: owned by one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>

#include "common/file.h"
#include "common/result.h"

namespace tutti::bench {

class TurnLine {
 public:
  /// Both pipes; once, by whoever starts the runs. Errors: kIo.
  static Result<> make(const std::string& folder);
  /// `first`: whose turn it is at the beginning. Errors: kIo.
  static Result<TurnLine> open(const std::string& folder, bool first);

  /// It is the other's turn.
  Result<> pass() { return tell(std::span(&kToken, 1)); }
  /// Waits until it is this one's. Errors: kTimeout when the other is silent that long.
  Result<> await(std::chrono::seconds patience);
  Result<> tell(std::span<const std::byte> bytes);
  Result<> hear(std::span<std::byte> bytes, std::chrono::seconds patience);

 private:
  static constexpr std::byte kToken{1};
  TurnLine(FileDescriptor in, FileDescriptor out) : in_(std::move(in)), out_(std::move(out)) {}

  FileDescriptor in_, out_;
};

}  // namespace tutti::bench
