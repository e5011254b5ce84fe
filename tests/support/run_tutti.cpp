// SPDX-License-Identifier: Apache-2.0
#include "tests/support/run_tutti.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "tests/support/eventually.h"

namespace tutti::testing {
namespace {

std::string new_mark() {
  static std::atomic<int> count = 0;
  return std::to_string(getpid()) + "-" + std::to_string(++count);
}

std::string new_folder() {
  std::string path = ::testing::TempDir() + "tutti-run-XXXXXX";
  EXPECT_NE(mkdtemp(path.data()), nullptr);
  return path;
}

pid_t parent_of(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  pid_t parent = 0;
  for (std::string word; status >> word && word != "PPid:";) {
  }
  status >> parent;
  return parent;
}

/// Takes what is there without waiting.
void take(const FileDescriptor& pipe, std::string& text) {
  char buffer[4096];
  for (ssize_t got = 0; (got = read(pipe.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(got));
  }
}

/// Other tests run at the same time, so that a new entry of /dev/shm is a run's only by its name.
bool is_of_a_run(const std::string& name) {
  return name.starts_with("vader_segment") || name.starts_with("tutti");
}

}  // namespace

std::string bin_folder() {
  return TUTTI_BIN_DIR;
}

RunTutti::RunTutti(Options options) : folder_(new_folder()), mark_(new_mark()), shared_memory_before_(shared_memory()) {
  std::filesystem::create_directory(folder_ + "/tmp");
  Environment environment = environment_snapshot();
  environment["OMPI_MCA_btl"] = "self,tcp";
  environment["OMPI_MCA_btl_tcp_if_include"] = "lo";
  environment["OMPI_MCA_oob_tcp_if_include"] = "lo";
  environment["OMPI_ALLOW_RUN_AS_ROOT"] = environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  environment["ASAN_OPTIONS"] = "detect_leaks=0";  // OpenMPI's, in the agents
  environment["TUTTI_LOG_DIR"] = folder_ + "/runs";
  environment["TMPDIR"] = folder_ + "/tmp";
  environment[kRunMark] = mark_;
  for (const auto& [name, value] : options.environment) environment[name] = value;

  launch::ChildSpec spec;
  spec.arguments = {options.program.empty() ? bin_folder() + "/tutti" : options.program};
  spec.arguments.insert(spec.arguments.end(), options.arguments.begin(), options.arguments.end());
  spec.environment = environment;
  auto started = launch::ChildProcess::start(spec);
  if (!started) throw std::runtime_error(started.error().text());
  process_ = std::move(*started);
  out_pipe_ = process_->take_stdout();
  err_pipe_ = process_->take_stderr();
}

RunTutti::~RunTutti() {
  for (const MarkedProcess& process : processes()) ::kill(process.pid, SIGKILL);
  if (process_) wait(std::chrono::seconds(5));
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::optional<int> RunTutti::wait(std::chrono::milliseconds patience) {
  siginfo_t info = {};
  const auto ended = [&] {
    out();  // a full pipe would keep it from ending
    err();
    return waitid(P_PID, static_cast<id_t>(process_->pid()), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
  };
  if (!eventually(patience, ended)) return {};
  int status = 0;
  waitpid(process_->pid(), &status, 0);
  process_.reset();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void RunTutti::signal(int signal) const {
  if (process_) ::kill(process_->pid(), signal);
}

std::string RunTutti::out() const {
  take(out_pipe_, out_);
  return out_;
}
std::string RunTutti::err() const {
  take(err_pipe_, err_);
  return err_;
}

bool RunTutti::wait_for_output(const std::string& text, std::chrono::milliseconds patience) const {
  return eventually(patience,
                    [&] { return out().find(text) != std::string::npos || err().find(text) != std::string::npos; });
}

std::vector<MarkedProcess> RunTutti::processes(const std::string& command) const {
  auto found = marked_processes(mark_);
  std::erase_if(found, [&](const MarkedProcess& process) { return !process.command.starts_with(command); });
  return found;
}

pid_t RunTutti::first_child() const {
  for (const MarkedProcess& process : processes()) {
    if (process_ && parent_of(process.pid) == process_->pid()) return process.pid;
  }
  return 0;
}

bool RunTutti::wait_for_processes(std::size_t count, const std::string& command,
                                  std::chrono::milliseconds patience) const {
  return eventually(patience, [&] { return processes(command).size() >= count; });
}

std::string RunTutti::list_leftovers() const {
  std::string list;
  const auto remaining = processes();
  for (const MarkedProcess& process : remaining) {
    list += "process " + std::to_string(process.pid) + ": " + process.command + "\n";
  }
  for (const std::string& address : listening_of(remaining)) list += "listens on " + address + "\n";
  for (const std::string& name : shared_memory()) {
    if (!shared_memory_before_.contains(name) && is_of_a_run(name)) list += "/dev/shm/" + name + "\n";
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_ + "/tmp")) list += entry.path().string() + "\n";
  return list;
}

std::string RunTutti::leftovers(std::chrono::milliseconds patience) const {
  std::string list;
  eventually(patience, [&] { return (list = list_leftovers()).empty(); });
  return list;
}

std::string RunTutti::log(const std::string& name) const {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_, ignored)) {
    if (entry.path().filename() != name) continue;
    std::ifstream file(entry.path());
    return {std::istreambuf_iterator<char>(file), {}};
  }
  return {};
}

}  // namespace tutti::testing
