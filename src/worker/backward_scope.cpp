// SPDX-License-Identifier: Apache-2.0
#include "worker/backward_scope.h"

#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "tutti/error.h"
#include "worker/reducer.h"

namespace tutti::worker {
namespace {

/// Runs after the node that holds a nested backward, in the enclosing one.
class CallOnce final : public torch::autograd::FunctionPostHook {
 public:
  explicit CallOnce(std::function<void()> f) : f_(std::move(f)) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list&) override {
    if (auto f = std::exchange(f_, nullptr)) f();
    return outputs;
  }

 private:
  std::function<void()> f_;
};

/// The callback of one backward, handed from graph to graph until it is the outermost one's.
class Ending : public std::enable_shared_from_this<Ending> {
 public:
  Ending(std::function<void()> done, std::function<void()> dropped)
      : done_(std::move(done)), dropped_(std::move(dropped)) {}
  ~Ending() {
    if (!fired_) dropped_();
  }
  Ending(const Ending&) = delete;
  Ending& operator=(const Ending&) = delete;

  void queue() {
    torch::autograd::Engine::get_default_engine().queue_callback(
        [self = shared_from_this()] { self->at_end_of_graph(); });
  }

 private:
  void at_end_of_graph() {
    if (auto enclosing = torch::autograd::get_current_node()) {
      enclosing->add_post_hook(std::make_unique<CallOnce>([self = shared_from_this()] { self->queue(); }));
      return;
    }
    fired_ = true;
    done_();
  }

  const std::function<void()> done_, dropped_;
  bool fired_ = false;
};

}  // namespace

void at_end_of_backward(std::function<void()> done, std::function<void()> dropped) {
  std::make_shared<Ending>(std::move(done), std::move(dropped))->queue();
}

BackwardScope::BackwardScope(Callbacks callbacks)
    : callbacks_(std::move(callbacks)), process_(::getpid()), alive_(std::make_shared<BackwardScope*>(this)) {}

BackwardScope::~BackwardScope() = default;

void BackwardScope::enter(Reducer& reducer) {
  if (::getpid() != process_) {
    throw UsageError(
        "backward() was called in a forked child of a rank: it would send gradients under its parent's name");
  }
  const std::thread::id self = std::this_thread::get_id();
  std::thread::id running{};
  if (thread_.compare_exchange_strong(running, self)) {
    const std::weak_ptr<BackwardScope*> alive = alive_;
    at_end_of_backward(
        [alive] {
          if (auto scope = alive.lock()) (*scope)->finish();
        },
        [alive] {
          if (auto scope = alive.lock()) (*scope)->reset();
        });
  } else if (running != self) {
    throw UsageError("two threads call backward() on the models of one Session at the same time");
  }
  if (std::find(reducers_.begin(), reducers_.end(), &reducer) != reducers_.end()) return;
  reducers_.push_back(&reducer);
  std::sort(reducers_.begin(), reducers_.end(),
            [](const Reducer* a, const Reducer* b) { return a->object() < b->object(); });
}

void BackwardScope::forget(Reducer& reducer) noexcept {
  std::erase(reducers_, &reducer);
}

void BackwardScope::finish() {
  Result<> result;
  for (Reducer* reducer : std::exchange(reducers_, {})) {
    if (result) result = reducer->finish(callbacks_.deadline());
    if (!result) reducer->reset();
  }
  thread_ = std::thread::id{};
  if (!result) callbacks_.raise(result.error());
  callbacks_.finished();
}

void BackwardScope::reset() noexcept {
  bool torn = false;
  for (Reducer* reducer : std::exchange(reducers_, {})) torn = reducer->reset() || torn;
  thread_ = std::thread::id{};
  if (torn) callbacks_.torn();
}

}  // namespace tutti::worker
