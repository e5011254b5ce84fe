// SPDX-License-Identifier: Apache-2.0
// How the user of an elastic run says that there is room for more workers, or that fewer are to go on: `tutti resize`
// leaves a file in the run's folder, and the run's first agent takes it up. Whoever may write there may ask.
// Thread safety: leave_wish() is a function without state; a WishReader is made and destroyed on any thread but the
// loop's, and calls back on the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/net/loop.h"
#include "common/result.h"

namespace tutti::launch {

struct ResizeCommand {
  std::string folder;  ///< of the run
  int workers = 0;
};
int execute(const ResizeCommand& command);

/// Errors: kUsage when there is no such run, or its world is not one that may have so many workers; kIo.
Result<> leave_wish(const std::string& run_folder, int workers);

/// Looks for wishes twice a second.
class WishReader {
 public:
  using OnWish = std::function<void(int workers)>;
  WishReader(Loop& loop, const std::string& run_folder, OnWish on_wish);
  ~WishReader();

 private:
  struct Impl;
  Loop& loop_;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tutti::launch
