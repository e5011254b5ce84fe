// SPDX-License-Identifier: Apache-2.0
#include "launch/commands.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <functional>

#include "common/bootstrap.h"
#include "common/event.h"
#include "common/mpi/mpi_environment.h"
#include "common/net/interfaces.h"
#include "common/recording.h"
#include "common/status_line.h"
#include "common/stop_signals.h"
#include "common/trace/merge.h"
#include "common/trace/part.h"
#include "launch/complain.h"
#include "launch/doctor.h"
#include "launch/executable.h"
#include "launch/explain.h"
#include "launch/guards_command.h"
#include "launch/launcher.h"
#include "launch/run_parent.h"
#include "launch/run_plan.h"
#include "launch/slurm_world.h"
#include "ps/server_main.h"

namespace tutti::launch {
namespace {

/// One agent for each node of Slurm's allocation, which goes by its number.
std::vector<std::string> expected_nodes(const Environment& environment) {
  const auto found = environment.find("SLURM_JOB_NUM_NODES");
  int nodes = 1;
  if (found != environment.end()) {
    std::from_chars(found->second.data(), found->second.data() + found->second.size(), nodes);
  }
  std::vector<std::string> hosts = {host_name()};
  for (int node = 2; node <= nodes; ++node) hosts.push_back(fmt::format("node {}", node));
  return hosts;
}

/// The agents are asked for their hosts only when they run: before, each is taken for one of this host, or of those
/// that are listed.
std::vector<std::string> expected_hosts(const RunConfig& config, Launch launch, const Environment& environment) {
  if (launch == Launch::kSrun || launch == Launch::kSlurmAgent) return expected_nodes(environment);
  const std::size_t agents = launch == Launch::kMpirun ? static_cast<std::size_t>(agents_for(config)) : 1;
  std::vector<std::string> hosts = expand_hosts(config.hosts);
  if (hosts.empty()) hosts.push_back(host_name());
  hosts.resize(agents, hosts.back());
  return hosts;
}

CommandLine line_of(Launch launch, const RunConfig& config, const LaunchSite& site,
                    const std::vector<std::string>& self) {
  return launch == Launch::kMpirun ? mpirun_line(config, site, self) : srun_line(config, site, self);
}

int dry_run(const RunPlan& plan, Launch launch, const LaunchSite& site, std::vector<std::string> self) {
  self.erase(std::find(self.begin(), self.end(), "--dry-run"));
  fmt::print("{}\n{}", to_toml(plan.config), describe(plan.placement));
  if (launch == Launch::kMpirun || launch == Launch::kSrun)
    fmt::print("{}\n", line_of(launch, plan.config, site, self).text());
  return 0;
}

Result<std::unique_ptr<AgentWorld>> open_world(Launch launch, const RunRequest& request, const Environment& environment,
                                               pid_t launcher) {
  if (launch == Launch::kMpiAgent) return open_mpi_world();
  if (launch == Launch::kLocal) return make_local_world(launcher);
  const auto config = load(request, environment);
  if (!config) return config.error();
  return SlurmWorld::open(environment, config->log_dir);
}

/// `launcher`: the process whose death ends a local agent; 0: none. REQUIRES: one thread (the guard is forked).
int be_agent(Launch launch, const RunRequest& request, const Environment& environment, pid_t launcher = 0) {
  signal(SIGPIPE, SIG_IGN);  // a reader of our output, or a child, may go away at any time
  auto guard = OrphanGuard::start(estate_of_mpirun(environment));
  if (!guard) return complain(guard.error());
  auto world = open_world(launch, request, environment, launcher);
  if (!world) return complain(world.error());
  return run_as_agent(**world, *guard, request, environment);
}

/// tutti-bench lies beside tutti wherever LibTorch was there to build it.
Result<std::string> bench_program(const Environment& environment) {
  const std::string path = (std::filesystem::path(own_executable()).parent_path() / "tutti-bench").string();
  if (auto found = find_program(path, environment)) return found;
  return fail(Errc::kUnavailable, "there is no " + path + ": this tutti was built without LibTorch");
}

/// MPI's own processes, without agents. A rank of mpirun's becomes the program.
int run_embedded(const RunRequest& request, const Environment& environment) {
  const EmbeddedProgram program = embedded_program(request);
  if (is_mpi_rank(environment)) return complain(exec_line({request.program, program.added}, environment));
  const auto config = load(request, environment);
  if (!config) return complain(config.error());
  const LaunchSite site = this_site(environment);
  if (site.mpirun.empty()) {
    return complain(
        fail(Errc::kUnavailable, "exchange = \"mpi\", but no mpirun is in PATH, or tutti was built without MPI"));
  }
  CommandLine line = mpirun_line(*config, site, program.line);
  line.added.erase("OMPI_MCA_btl");  // agents do without OpenMPI's shared memory; here it is what is measured
  line.added.insert(program.added.begin(), program.added.end());
  fmt::print(stderr, "tutti: {}\n", line.text());
  const auto ended = RunParent().run_mpirun(line, environment);
  return ended ? ended->exit_code : complain(ended.error());
}

/// Agents under mpirun see no terminal of the user's.
Environment with_terminal(Environment environment) {
  environment.erase("TUTTI_TTY");
  if (!is_terminal(STDOUT_FILENO, environment) || !is_terminal(STDERR_FILENO, environment)) return environment;
  environment["TUTTI_TTY"] = "1";
  environment["COLUMNS"] = std::to_string(columns_of(STDOUT_FILENO, environment));
  return environment;
}

/// As the parent of the agents, which may start them again.
int be_parent(const RunConfig& config, const std::function<Result<RunParent::End>(RunParent&)>& once) {
  RunParent parent;
  const auto ended = run_with_restarts(config, parent, [&] { return once(parent); });
  return ended ? *ended : complain(ended.error());
}

}  // namespace

int execute(const BenchCommand& command, const std::vector<std::string>& line, const Environment& environment) {
  if (bench::takes_turns(command.options.bench) && command.options.side.empty()) {
    return execute_guards(command, [&](const BenchCommand& run) { return execute(run, line, environment); });
  }
  const auto program = bench_program(environment);
  if (!program) return complain(program.error());
  const RunRequest request = bench_request(command, *program, environment);
  if (is_embedded(request)) return run_embedded(request, environment);
  return execute(RunCommand{request}, line, environment);
}

int execute(const RunCommand& command, const std::vector<std::string>& line, const Environment& environment) {
  const LaunchSite site = this_site(environment);
  if (is_mpi_rank(environment) && !command.dry_run) return be_agent(Launch::kMpiAgent, command.request, environment);

  auto config = load(command.request, environment);
  if (!config) return complain(config.error());
  const auto launch = choose_launch(*config, site);
  if (!launch) return complain(launch.error());
  // Slurm's agents are told by their number.
  const bool starts_here = *launch == Launch::kLocal || *launch == Launch::kMpirun;
  const int room = config->hosts.empty() ? cores_here() : static_cast<int>(expand_hosts(config->hosts).size());
  if (starts_here && config->workers == 0) config->workers = first_workers(*config, room);
  const auto plan = plan_run(*config, expected_hosts(*config, *launch, environment));
  if (!plan) return complain(plan.error());
  if (command.dry_run) return dry_run(*plan, *launch, site, line);
  if (const auto program = find_program(plan->config.program.front(), environment); !program) {
    return complain(program.error());
  }
  if (*launch == Launch::kSlurmAgent || (*launch == Launch::kLocal && config->restarts == 0)) {
    return be_agent(*launch, command.request, environment);
  }
  if (*launch == Launch::kLocal) {
    return be_parent(*config, [&](RunParent& parent) {
      return parent.run_agent([&](pid_t self) { return be_agent(Launch::kLocal, command.request, environment, self); });
    });
  }

  const CommandLine become = line_of(*launch, *config, site, line);
  fmt::print(stderr, "tutti: {}\n", become.text());
  if (*launch == Launch::kSrun) {
    if (config->restarts > 0)
      fmt::print(stderr, "tutti: restarts has no effect under Slurm: ask sbatch for --requeue\n");
    return complain(exec_line(become, environment));
  }
  return be_parent(*config, [&](RunParent& parent) { return parent.run_mpirun(become, with_terminal(environment)); });
}

namespace {

/// -1: none.
int inherited_descriptor(const Environment& environment, std::string_view variable) {
  const auto found = environment.find(variable);
  int fd = -1;
  if (found != environment.end())
    std::from_chars(found->second.data(), found->second.data() + found->second.size(), fd);
  return fd;
}

}  // namespace

int execute(const ServerCommand&, const Environment& environment) {
  const int fd = inherited_descriptor(environment, "TUTTI_FD");
  if (fd < 0) {
    return complain(fail(Errc::kUsage, "`tutti server` is started by an agent; start a run with `tutti run`"));
  }
  signal(SIGPIPE, SIG_IGN);
  const auto bootstrap = read_bootstrap(fd);
  if (!bootstrap) return complain(bootstrap.error());
  // Slurm signals every process. A shard serves until the workers have stopped.
  const auto page = StatusPage::open(inherited_descriptor(environment, "TUTTI_STATUS_FD"));
  const StopSignals stop_signals(page ? &*page : nullptr);
  const Logger log = Logger::to_stderr("shard " + std::to_string(bootstrap->rank));
  const auto recorder = begin_recording(bootstrap->recordings, recorded_process(*bootstrap), log);
  const auto part = begin_part(bootstrap->config.trace, recorded_process(*bootstrap), log);
  // A run goes on without the part of one that takes a lost one's place.
  if (!part && !bootstrap->newcomer) return complain(part.error());
  if (!part) log.warning("has no part in the trace: {}", part.error().text());
  TracePart* const trace = part ? part->get() : nullptr;
  EventTee events;
  if (recorder) events.add(*recorder);
  if (trace != nullptr) events.add(*trace);
  const SteadyClock clock;
  const auto code = ps::serve(*bootstrap, fd, clock, events, log, page ? &*page : nullptr, trace);
  return code ? *code : complain(code.error());
}

int execute(const DoctorCommand&, const Environment& environment) {
  const Diagnosis diagnosis = diagnose(environment);
  fmt::print("{}", diagnosis.text());
  return diagnosis.can_train() ? 0 : exit_code(Errc::kUnavailable);
}

int execute(const ExplainCommand& command) {
  const auto found = read_recordings(command.folder);
  if (!found) return complain(found.error());
  fmt::print("{}", explain(*found, command.events));
  return 0;
}

// The parts stay: the run may go on.
int execute(const TraceCommand& command) {
  std::string folder = command.folder, trace = command.trace;
  while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
  const std::string suffix = parts_folder("");
  if (trace.empty() && folder.ends_with(suffix)) trace = folder.substr(0, folder.size() - suffix.size());
  if (trace.empty()) {
    return complain(
        fail(Errc::kUsage, folder + " does not end in " + suffix + ": say behind it what the trace is to be called"));
  }
  std::error_code error;
  const std::filesystem::directory_iterator entries(folder, error);
  const bool has_parts = !error && std::any_of(begin(entries), end(entries), [](const auto& entry) {
    return entry.path().extension() == kPartExtension;
  });
  if (!has_parts) return complain(fail(Errc::kBadData, folder + " holds no part of a trace"));
  const auto merged = merge_trace(folder, trace);
  if (!merged) return complain(merged.error());
  for (const std::string& why : merged->skipped) fmt::print(stderr, "tutti: skipped: {}\n", why);
  fmt::print("{}: {} process{}\n", trace, merged->parts.size(), merged->parts.size() == 1 ? "" : "es");
  return 0;
}

}  // namespace tutti::launch
