// SPDX-License-Identifier: Apache-2.0
#include "launch/supervisor.h"

#include <sys/socket.h>
#include <boost/asio/post.hpp>
#include <csignal>
#include <memory>

#include "common/net/later.h"
#include "common/stack_file.h"

namespace tutti::launch {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(300);
// For a thread that runs to write its stack.
constexpr auto kStackTime = std::chrono::milliseconds(200);

struct Line {
  FileDescriptor ours, childs;
};

/// Over which a child learns who it is; it stays open, and its end tells the child that the agent is gone.
Result<Line> open_line() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno("no socket pair for a child", errno, Errc::kUnavailable);
  }
  return Line{FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

}  // namespace

struct Supervisor::Child {
  MemberId member;
  FileDescriptor line;
  StatusPage status;
  ChildProcess process;
  ChildOutput output;
  ChildWatch watch;
};

Supervisor::Supervisor(boost::asio::io_context& context, OrphanGuard& guard, Duration period, OnExit on_exit)
    : context_(context),
      guard_(guard),
      period_(period),
      on_exit_(std::move(on_exit)),
      exits_(context, SIGCHLD),
      patience_(context) {
  watch_exits();
}

Supervisor::~Supervisor() {
  kill();
}

Result<> Supervisor::start(ChildPlan plan) {
  auto log = open_log(plan.log_path);
  if (!log) return log.error();
  auto line = open_line();
  if (!line) return line.error();
  auto status = StatusPage::create();
  if (!status) return status.error();
  TUTTI_TRY(write_bootstrap(line->ours.get(), plan.bootstrap));

  ChildSpec& spec = plan.program;
  spec.environment["TUTTI_FD"] = std::to_string(line->childs.get());
  spec.environment["TUTTI_STATUS_FD"] = std::to_string(status->fd());
  spec.guard = guard_.line();
  spec.inherited = {line->childs.get(), status->fd()};
  auto process = ChildProcess::start(spec);
  if (!process) return process.error();

  ChildOutput output(context_, process->take_stdout(), process->take_stderr(), std::move(*log), plan.forward_output);
  if (lease_end_) status->set_lease(*lease_end_);
  children_.push_back({plan.member, std::move(line->ours), std::move(*status), std::move(*process), std::move(output),
                       ChildWatch(period_)});
  return {};
}

void Supervisor::watch_exits() {
  exits_.async_wait([this](boost::system::error_code error, int) {
    if (error) return;
    reap();
    watch_exits();
  });
}

void Supervisor::reap() {
  // One SIGCHLD may stand for several children.
  for (auto child = children_.begin(); child != children_.end();) {
    const auto wait_status = child->process.reap();
    if (!wait_status) {
      ++child;
      continue;
    }
    guard_.forget(child->process.pid());
    child->output.drain();
    const ChildExit exit{child->member, *wait_status, child->status.step(), child->output.last_error()};
    child = children_.erase(child);
    if (!all_gone_) on_exit_(exit);
  }
  forget_if_gone();
}

void Supervisor::forget_if_gone() {
  if (!all_gone_ || !children_.empty()) return;
  patience_.cancel();
  boost::asio::post(context_, std::exchange(all_gone_, nullptr));
}

bool Supervisor::ask_to_stop() noexcept {
  bool heard = false;
  for (Child& child : children_) {
    child.status.set_wish(StatusPage::Wish::kStop);
    heard = heard || child.status.listening();
  }
  return heard;
}

std::vector<ChildBeat> Supervisor::look(TimePoint now) {
  std::vector<ChildBeat> beats;
  for (Child& child : children_) beats.push_back(child.watch.look(child.member, child.status, now));
  return beats;
}

void Supervisor::set_lease(TimePoint end) noexcept {
  lease_end_ = end;
  for (Child& child : children_) child.status.set_lease(end);
}

void Supervisor::stop(std::function<void()> all_gone) {
  all_gone_ = std::move(all_gone);
  for (Child& child : children_) {
    child.status.set_wish(StatusPage::Wish::kEnd);
    child.process.signal_group(SIGTERM);
  }
  patience_.expires_after(kPatience);
  patience_.async_wait([this](boost::system::error_code error) {
    if (!error) kill();
  });
  forget_if_gone();
}

void Supervisor::evict(const MemberId& member) {
  for (const Child& child : children_) {
    if (child.member != member) continue;
    const int pid = child.process.pid();
    if (!catches(pid, kStackSignal)) {
      child.process.signal_group(SIGKILL);
      continue;
    }
    ::kill(pid, kStackSignal);
    kill_after_stack(member, pid);
  }
}

void Supervisor::kill_after_stack(const MemberId& member, int pid) {
  later(context_, kStackTime, [this, member, pid] {
    for (const Child& child : children_) {
      if (child.member == member && child.process.pid() == pid) child.process.signal_group(SIGKILL);
    }
  });
}

void Supervisor::kill() noexcept {
  for (const Child& child : children_) child.process.signal_group(SIGKILL);
}

}  // namespace tutti::launch
