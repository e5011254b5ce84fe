// SPDX-License-Identifier: Apache-2.0
// LibTorch's CPU allocator, put in front of the one that was there: what has exactly the size of a large gradient comes
// from an exchange's memory as long as it has a free piece, everything else from where it came before.
// Thread safety: any thread.
#pragma once

#include <memory>

#include "worker/birthplaces.h"

namespace tutti::worker {

/// While it lives, LibTorch's allocations may come from `places`. Tensors that lie there may live longer.
class AllocateIn {
 public:
  explicit AllocateIn(std::shared_ptr<Birthplaces> places);
  ~AllocateIn();
  AllocateIn(const AllocateIn&) = delete;
  AllocateIn& operator=(const AllocateIn&) = delete;

 private:
  const std::shared_ptr<Birthplaces> places_;
};

}  // namespace tutti::worker
