// SPDX-License-Identifier: Apache-2.0
// The end of a backward, found out through the autograd engine: one callback for the whole Session, which finishes the
// exchanges that the backward started, in the order in which their models were wrapped.
//
// The engine calls back at the end of the graph that was running when the callback was queued. Inside a checkpointed
// part that is the nested graph, whose end is not the backward's: there a post hook on the enclosing node queues the
// callback again, one level up. A backward that ends by an exception destroys its callback unrun; that resets what it
// had begun. Thread safety: the thread that calls backward; a second one at the same time and a forked child are
// errors.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/result.h"

namespace tutti::worker {

class Reducer;

/// From a hook: calls `done` at the end of the outermost backward that this thread is in, or, where it ends by an
/// exception, `dropped`, which does not throw.
void at_end_of_backward(std::function<void()> done, std::function<void()> dropped);

class BackwardScope {
 public:
  struct Callbacks {
    std::function<Deadline()> deadline;
    /// Every exchange of a backward is in place.
    std::function<void()> finished;
    /// A backward ended by an exception after a part of its gradients had gone out.
    std::function<void()> torn;
    /// Raises: the failure becomes the exception that leaves backward().
    std::function<void(const Failure&)> raise;
  };
  explicit BackwardScope(Callbacks callbacks);
  BackwardScope(const BackwardScope&) = delete;
  BackwardScope& operator=(const BackwardScope&) = delete;
  ~BackwardScope();

  /// From a hook: `reducer` takes part in the backward that is running. Throws UsageError on a second thread or in a
  /// forked child.
  void enter(Reducer& reducer);
  void forget(Reducer& reducer) noexcept;

 private:
  void finish();
  void reset() noexcept;

  const Callbacks callbacks_;
  const pid_t process_;
  std::shared_ptr<BackwardScope*> alive_;  ///< lets a callback that outlives the scope find that out
  std::vector<Reducer*> reducers_;         ///< in this backward, ordered by object
  std::atomic<std::thread::id> thread_{};  ///< of the backward that is running; none: no backward
};

}  // namespace tutti::worker
