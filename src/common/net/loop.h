// SPDX-License-Identifier: Apache-2.0
// The process' loop thread: one io_context, one thread, joined by its owner. Objects that say "lives on the loop" are
// made, used and destroyed there; other threads `post` to it or `run` something on it and wait.
// Thread safety: any thread, except where said.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <future>
#include <thread>
#include <type_traits>
#include <utility>

namespace tutti {

class Loop {
 public:
  Loop();
  /// Stops the loop and joins its thread. What was posted and not yet run is destroyed unrun.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  boost::asio::io_context& context() noexcept { return context_; }
  template <class F>
  void post(F&& f) {
    boost::asio::post(context_, std::forward<F>(f));
  }
  /// Runs `f` on the loop and returns what it returns. REQUIRES: not called on the loop.
  template <class F>
  auto run(F&& f) -> std::invoke_result_t<F> {
    std::packaged_task<std::invoke_result_t<F>()> task(std::forward<F>(f));
    auto result = task.get_future();
    boost::asio::post(context_, std::move(task));
    return result.get();
  }
  bool on_loop() const noexcept { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

}  // namespace tutti
