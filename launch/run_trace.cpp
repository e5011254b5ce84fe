// SPDX-License-Identifier: Apache-2.0
#include "launch/run_trace.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <utility>

#include "common/trace/merge.h"
#include "common/trace/part.h"

namespace tutti::launch {
namespace {

/// The calling thread runs where no other wants to.
void give_way() {
  const sched_param none{};
  ::sched_setscheduler(0, SCHED_IDLE, &none);
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19);
}

}  // namespace

Result<std::unique_ptr<RunTrace>> RunTrace::begin(const std::string& trace, OrphanGuard& guard, Duration pause) {
  std::error_code error;
  std::string path = std::filesystem::absolute(trace, error).string();
  if (error) path = trace;
  TUTTI_TRY(prepare_trace(path));
  guard.keep_trace(path);
  return std::unique_ptr<RunTrace>(new RunTrace(std::move(path), guard, pause));
}

RunTrace::RunTrace(std::string trace, OrphanGuard& guard, Duration pause)
    : trace_(std::move(trace)), guard_(guard), thread_([this, pause] { work(pause); }) {}

RunTrace::~RunTrace() {
  stop();
}

// Each takes about as long as all before it together, and they lie ever farther apart. One that fails is not told: the
// next, or the last, will.
void RunTrace::work(Duration pause) {
  give_way();
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, pause, [this] { return stopping_.load(); })) {
    lock.unlock();
    [[maybe_unused]] const auto merged = merge_trace(parts_folder(trace_), trace_, &stopping_);
    lock.lock();
    pause *= 2;
  }
}

void RunTrace::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void RunTrace::finish(const Logger& log) {
  stop();
  const std::string folder = parts_folder(trace_);
  const auto merged = merge_trace(folder, trace_);
  if (!merged) return log.warning("the trace was not finished, its parts stay: {}", merged.error().text());
  for (const std::string& why : merged->skipped) log.warning("the trace lacks a part: {}", why);
  guard_.keep_trace("");  // first: it would take what is still there for all
  remove_parts(folder, *merged);
}

}  // namespace tutti::launch
