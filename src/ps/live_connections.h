// SPDX-License-Identifier: Apache-2.0
// Counts a shell's open connections, so that it can be destroyed when the last of them has said on_closed.
// Thread safety: lives on the loop; the future that ending() returns is for the thread that destroys the shell.
#pragma once

#include <future>

namespace tutti::ps {

class LiveConnections {
 public:
  void opened() { ++count_; }
  void closed() {
    if (--count_ == 0 && is_ending_) none_left_.set_value();
  }
  /// No connection is opened any more: ready when there is none left.
  std::shared_future<void> ending() {
    if (!is_ending_ && count_ == 0) none_left_.set_value();
    is_ending_ = true;
    return ended_;
  }
  bool is_ending() const noexcept { return is_ending_; }

 private:
  int count_ = 0;
  bool is_ending_ = false;
  std::promise<void> none_left_;
  std::shared_future<void> ended_ = none_left_.get_future().share();
};

}  // namespace tutti::ps
