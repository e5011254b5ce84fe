// SPDX-License-Identifier: Apache-2.0
// `tutti doctor`: what of this machine tutti can use, what it would need, and what looks wrong.
// Thread safety: the main thread; starts short-lived processes.
#pragma once

#include <string>
#include <vector>

#include "common/config.h"

namespace tutti::launch {

struct Check {
  enum class Verdict { kGood, kAbsent, kBad } verdict = Verdict::kGood;
  std::string subject;  ///< "LibTorch"
  std::string found;    ///< "2.15.0 in /opt/torch"
  bool needed = false;  ///< for training on CPUs
};

struct Diagnosis {
  std::vector<Check> checks;
  /// One line for each check, then the verdict.
  std::string text() const;
  bool can_train() const;
};

Diagnosis diagnose(const Environment& environment);

}  // namespace tutti::launch
