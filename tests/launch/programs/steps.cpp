// SPDX-License-Identifier: Apache-2.0
// A worker that only keeps step with the others: joins the run, meets them at a barrier in each step, leaves; its
// recording is made as a training program's. One rank may be told to come to grief at some step.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <string>

#include "common/bootstrap.h"
#include "common/control/member.h"
#include "common/pulse.h"

namespace {

struct Grief {
  int rank = -1;
  std::uint64_t step = 0;
  std::string kind;  // "exit", "kill", "stop", "throw"
};
using Keys = std::vector<std::string>;

int descriptor(const tutti::Environment& environment, const char* name) {
  const std::string& text = environment.at(name);
  int fd = -1;
  std::from_chars(text.data(), text.data() + text.size(), fd);
  return fd;
}

void come_to(const Grief& grief) {
  std::fprintf(stderr, "rank %d comes to grief\n", grief.rank);
  if (grief.kind == "kill") raise(SIGKILL);
  if (grief.kind == "stop") raise(SIGSTOP);
  if (grief.kind == "exit") _exit(3);
  throw std::runtime_error("the data has an end");
}

void work(std::uint64_t steps, const Grief& grief, const Keys& awaited) {
  const auto environment = tutti::environment_snapshot();
  const auto self = tutti::read_bootstrap(descriptor(environment, "TUTTI_FD")).value();
  auto status = tutti::StatusPage::open(descriptor(environment, "TUTTI_STATUS_FD")).value();
  const auto patience = std::chrono::seconds(20);

  tutti::Loop loop;
  tutti::Member::Options options;
  options.coordinator = self.coordinator;
  options.credentials = {self.secret, self.job, {tutti::Role::kWorker, self.rank, self.generation}};
  options.host = self.host;
  const tutti::SteadyClock clock;
  const auto log = tutti::Logger::to_stderr("rank " + std::to_string(self.rank));
  const auto recorder = tutti::begin_recording(self.recordings, tutti::recorded_process(self), log);
  tutti::EventTee events;
  if (recorder) events.add(*recorder);
  const auto timeout =
      std::chrono::duration_cast<tutti::Duration>(std::chrono::duration<double>(self.config.timeout_s));
  const auto pulse = tutti::start_pulse(loop, status, timeout, log);
  if (pulse) events.add(*pulse);
  const auto record = [&](tutti::EventKind kind, std::uint64_t step) {
    events.record({clock.now(), kind, self.rank, self.generation, step, 0, 0, 0});
  };
  const auto member = tutti::Member::join(loop, options, tutti::Logger::none()).value();
  member->record_to(events);
  member->on_abort([&](const tutti::Failure&) { record(tutti::EventKind::kRunEnded, status.step()); });
  const auto deadline = [&] { return clock.now() + patience; };
  for (const std::string& key : awaited) member->get(key, deadline()).value();
  for (std::uint64_t step = 1; step <= steps; ++step) {
    status.set_step(step);
    member->progress(step);
    record(tutti::EventKind::kIterationBegin, step);
    if (self.rank == grief.rank && step == grief.step) come_to(grief);
    member->barrier(deadline()).value();
    record(tutti::EventKind::kIterationEnd, step);
  }
  std::printf("rank %d of %d did %llu steps\n", self.rank, self.world_size, static_cast<unsigned long long>(steps));
  member->leave(deadline()).value();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Keeps step with the other ranks");
  std::uint64_t steps = 10;
  Grief grief;
  app.add_option("--steps", steps);
  app.add_option("--grief", grief.kind);
  app.add_option("--rank", grief.rank);
  app.add_option("--at", grief.step);
  Keys awaited;
  app.add_option("--await", awaited, "Keys of the run's store, waited for before the first step");
  CLI11_PARSE(app, argc, argv);
  try {
    work(steps, grief, awaited);
    return 0;
  } catch (const tutti::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
