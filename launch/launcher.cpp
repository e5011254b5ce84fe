// SPDX-License-Identifier: Apache-2.0
#include "launch/launcher.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "common/mpi/mpi_environment.h"
#include "launch/executable.h"

namespace tutti::launch {
namespace {

/// Whether srun started this process. A batch script and an interactive allocation have numbers near the greatest one,
/// or none.
bool in_slurm_step(const Environment& environment) {
  const auto step = environment.find("SLURM_STEP_ID");
  if (step == environment.end() || !environment.contains("SLURM_PROCID") || !environment.contains("SLURM_NTASKS")) {
    return false;
  }
  std::uint32_t number = 0;
  const std::string& text = step->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  constexpr std::uint32_t kSpecialSteps = 0xffff'fff0;
  return error == std::errc() && end == text.data() + text.size() && number < kSpecialSteps;
}

Failure missing(const std::string& launcher, const std::string& what) {
  return fail(Errc::kUnavailable, "launcher = \"" + launcher + "\", but " + what);
}

std::string joined(const std::vector<std::string>& parts) {
  std::string all;
  for (const std::string& part : parts) all += (all.empty() ? "" : ",") + part;
  return all;
}

std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("-_./=:,+@%").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return word;
  std::string out = "'";
  for (char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

/// What agents want of OpenMPI: no shared memory, whose files outlive a kill, and the interface that the run was told
/// to use. A user's own settings win.
Environment mpi_settings(const RunConfig& config, const LaunchSite& site) {
  Environment wanted = {{"OMPI_MCA_btl", "self,tcp"}};
  const bool by_address =
      !config.interface.empty() && std::isdigit(static_cast<unsigned char>(config.interface[0])) != 0;
  const std::string interface = config.hosts.empty() && config.interface.empty() ? "lo" : config.interface;
  if (!interface.empty() && !by_address) {
    wanted["OMPI_MCA_btl_tcp_if_include"] = interface;
    wanted["OMPI_MCA_oob_tcp_if_include"] = interface;
  }
  if (site.root) {
    wanted["OMPI_ALLOW_RUN_AS_ROOT"] = "1";
    wanted["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  }
  std::erase_if(wanted, [&](const auto& variable) { return site.environment.contains(variable.first); });
  return wanted;
}

}  // namespace

LaunchSite this_site(const Environment& environment) {
  LaunchSite site{environment, {}, find_in_path("srun", environment), geteuid() == 0};
#if TUTTI_WITH_MPI
  site.mpirun = find_in_path("mpirun", environment);
#endif
  return site;
}

std::vector<std::string> expand_hosts(const std::vector<std::string>& hosts) {
  std::vector<std::string> slots;
  for (const std::string& host : hosts) {
    const auto colon = host.find(':');
    std::size_t count = 1;
    if (colon != std::string::npos) std::from_chars(host.data() + colon + 1, host.data() + host.size(), count);
    slots.insert(slots.end(), count, host.substr(0, colon));
  }
  return slots;
}

namespace {

/// Shards that are placed apart need agents where no worker is.
bool is_agent_for_each_worker(const RunConfig& config) {
  return config.workers > 0 && config.placement == "colocated";
}

}  // namespace

int agents_for(const RunConfig& config) {
  const auto slots = static_cast<int>(expand_hosts(config.hosts).size());
  if (is_agent_for_each_worker(config) || slots == 0) return std::max(config.workers, 1);
  return slots;
}

Result<Launch> choose_launch(const RunConfig& config, const LaunchSite& site) {
  const std::string& wanted = config.launcher;
  if (is_mpi_rank(site.environment)) return Launch::kMpiAgent;
  if (wanted == "local") return Launch::kLocal;
  if (wanted == "mpirun") {
    if (site.mpirun.empty()) return missing(wanted, "no mpirun is in PATH, or tutti was built without MPI");
    return Launch::kMpirun;
  }
  if (in_slurm_step(site.environment)) return Launch::kSlurmAgent;
  const bool allocation = site.environment.contains("SLURM_JOB_ID") && !site.srun.empty();
  if (allocation) return Launch::kSrun;
  if (wanted == "slurm") return missing(wanted, "there is no allocation (SLURM_JOB_ID) or no srun in PATH");
  if (!site.mpirun.empty()) return Launch::kMpirun;
  if (!config.hosts.empty()) return missing(wanted, "hosts are given and no mpirun is in PATH");
  return Launch::kLocal;
}

std::string CommandLine::text() const {
  std::string line;
  for (const auto& [name, value] : added) line += name + "=" + quoted(value) + " ";
  for (const std::string& word : arguments) line += quoted(word) + " ";
  line.pop_back();
  return line;
}

CommandLine mpirun_line(const RunConfig& config, const LaunchSite& site, const std::vector<std::string>& self) {
  CommandLine line{{site.mpirun, "-np", std::to_string(agents_for(config)), "--bind-to", "none"},
                   mpi_settings(config, site)};
  // An agent only watches: the number of cores says nothing about how many there may be.
  line.arguments.push_back("--oversubscribe");
  if (config.hosts.empty()) {
    // The agents tell how the run ended, and mpirun need not; of hosts that it cannot reach only mpirun can tell.
    line.arguments.push_back("--quiet");
  } else {
    line.arguments.push_back("--host");
    line.arguments.push_back(joined(config.hosts));
  }
  line.arguments.insert(line.arguments.end(), self.begin(), self.end());
  return line;
}

CommandLine srun_line(const RunConfig& config, const LaunchSite& site, const std::vector<std::string>& self) {
  CommandLine line{{site.srun, "--mpi=pmix", "--cpu-bind=none"}, mpi_settings(config, site)};
  if (is_agent_for_each_worker(config)) line.arguments.push_back("--ntasks=" + std::to_string(config.workers));
  line.arguments.insert(line.arguments.end(), self.begin(), self.end());
  return line;
}

Failure exec_line(const CommandLine& line, const Environment& environment) {
  Environment all = environment;
  for (const auto& [name, value] : line.added) all[name] = value;
  std::vector<std::string> variables;
  for (const auto& [name, value] : all) variables.push_back(name + "=" + value);
  std::vector<std::string> words = line.arguments;
  std::vector<char*> argv, envp;
  for (std::string& word : words) argv.push_back(word.data());
  for (std::string& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  execve(argv[0], argv.data(), envp.data());
  return fail_errno("cannot execute " + line.arguments[0], errno, Errc::kUnavailable);
}

}  // namespace tutti::launch
