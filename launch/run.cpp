// SPDX-License-Identifier: Apache-2.0
#include "launch/run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <span>

#include "common/file.h"
#include "common/mpi/mpi_environment.h"
#include "common/net/interfaces.h"
#include "common/status_line.h"
#include "launch/agent.h"
#include "launch/agreement.h"
#include "launch/explain.h"
#include "launch/first_stop.h"
#include "launch/head.h"
#include "launch/run_trace.h"

namespace tutti::launch {
namespace {

constexpr Duration kMeetTimeout = std::chrono::seconds(60);
constexpr Duration kPartTimeout = std::chrono::seconds(10);
constexpr Duration kInterruptedPartTimeout = std::chrono::seconds(1);  // mpirun kills two seconds after its TERM

Deadline in(Duration time) {
  return SteadyClock().now() + time;
}

std::string count(int number, const char* thing) {
  return fmt::format("{} {}{}", number, thing, number == 1 ? "" : "s");
}

/// A reader who went away or a full disk must not end the run.
void write_out(int fd, std::string_view bytes) {
  [[maybe_unused]] const auto ignored = write_all(fd, std::as_bytes(std::span(bytes)), "output");
}

/// What mpirun gives its processes for stdout is a terminal, whatever the user's is: `tutti run` has looked before it
/// started mpirun.
StatusLine::Options screen_of(const AgentWorld& world, const Environment& environment) {
  StatusLine::Options options;
  if (is_mpi_rank(environment)) {
    const auto told = environment.find("TUTTI_TTY");
    options.out_terminal = options.err_terminal = told != environment.end() && told->second == "1";
  } else {
    options.out_terminal = is_terminal(STDOUT_FILENO, environment);
    options.err_terminal = is_terminal(STDERR_FILENO, environment);
  }
  options.colours = wants_colours(environment);
  options.shared = world.size() > 1;
  options.columns = [environment] { return columns_of(STDOUT_FILENO, environment); };
  return options;
}

/// One agent's way through a run; its steps in the order of their calls.
class Run {
 public:
  Run(AgentWorld& world, OrphanGuard& guard, const Environment& environment)
      : world_(world),
        guard_(guard),
        environment_(environment),
        screen_(screen_of(world, environment), write_out),
        log_(Logger::through([this](std::string_view line) { screen_.write(STDERR_FILENO, line); },
                             "agent " + std::to_string(world.rank()), LogLevel::kWarning)) {}

  Result<> agree(const RunRequest& request);
  Result<int> work();
  /// After a run that ended well nobody reads them.
  void remove_recordings() const;
  /// When all agents have parted, so that nobody records any more.
  void finish_trace();
  Duration part_timeout() const { return interrupted() ? kInterruptedPartTimeout : kPartTimeout; }

 private:
  bool interrupted() const noexcept { return agent_ && agent_->interrupted_by() != 0; }
  /// Where there is one agent, cores say how many workers there is room for.
  Result<RunConfig> load_for(const RunRequest& request) const;
  Result<> agree_on_addresses();
  Result<> agree_on_card();
  Result<> begin_trace();
  AgentSite site() const;
  void announce() const;
  void tell_end(int exit_code) const;
  std::vector<std::string> hosts() const;

  AgentWorld& world_;
  OrphanGuard& guard_;
  const Environment& environment_;
  StatusLine screen_;
  const Logger log_;
  const SteadyClock clock_;
  Loop loop_;
  RunPlan plan_;
  std::string address_;
  RunCard card_;
  Secret secret_;
  std::unique_ptr<Head> head_;       // agent 0's
  std::unique_ptr<RunTrace> trace_;  // agent 0's, where one was asked for
  std::optional<Agent> agent_;  // its link stays open until the agents have parted: no end of ours looks like a loss
};

Result<> Run::agree(const RunRequest& request) {
  const Deadline deadline = in(kMeetTimeout);
  const bool leads = world_.rank() == 0;
  auto config = share(world_, leads ? load_for(request) : Result<RunConfig>(RunConfig{}), deadline);
  if (!config) return config.error();
  auto hosts = gather(world_, Result<std::string>(host_name()), deadline);
  if (!hosts) return hosts.error();
  auto plan = plan_run(std::move(*config), *hosts);
  if (!plan) return plan.error();
  plan_ = std::move(*plan);
  TUTTI_TRY(agree_on_addresses());
  return agree_on_card();
}

Result<RunConfig> Run::load_for(const RunRequest& request) const {
  auto config = load(request, environment_);
  if (config && config->workers == 0 && world_.size() == 1) config->workers = first_workers(*config, cores_here());
  return config;
}

Result<> Run::agree_on_addresses() {
  const bool one_host = std::all_of(plan_.placement.begin(), plan_.placement.end(), [&](const AgentShare& share) {
    return share.host == plan_.placement.front().host;
  });
  const auto own = own_address(plan_.config.interface, one_host);
  const auto all = gather(world_, own, in(kMeetTimeout));
  if (!all) return all.error();
  address_ = *own;
  return {};
}

Result<> Run::agree_on_card() {
  Result<RunCard> card = RunCard{};
  if (world_.rank() == 0) {
    auto head = Head::start(loop_, plan_, address_, clock_, screen_, log_, world_.outlives_agents());
    const auto trace = head ? begin_trace() : Result<>();
    if (head && trace) {
      head_ = std::move(*head);
      card = head_->card();
    } else {
      card = head ? trace.error() : head.error();
    }
  }
  auto shared = share(world_, card, in(kMeetTimeout));
  if (!shared) return shared.error();
  card_ = std::move(*shared);

  // What each has to find at its own place.
  const auto secret = secret_of(card_, plan_.config);
  std::error_code error;
  std::filesystem::create_directories(card_.folder, error);
  Result<bool> ready = true;
  if (!secret) ready = secret.error();
  if (error) ready = fail(Errc::kIo, "cannot make " + card_.folder + " on " + host_name() + ": " + error.message());
  const auto all_ready = gather(world_, ready, in(kMeetTimeout));
  if (!all_ready) return all_ready.error();
  secret_ = *secret;
  return {};
}

Result<> Run::begin_trace() {
  if (plan_.config.trace.empty()) return {};
  auto trace = RunTrace::begin(plan_.config.trace, guard_);
  if (!trace) return trace.error();
  trace_ = *std::move(trace);
  return {};
}

void Run::finish_trace() {
  if (trace_) trace_->finish(log_);
}

AgentSite Run::site() const {
  AgentSite site;
  site.index = world_.rank();
  site.agents = world_.size();
  site.share = plan_.placement[static_cast<std::size_t>(site.index)];
  site.host = host_place(plan_.placement, site.index);
  site.config = plan_.config;
  site.card = card_;
  site.secret = secret_;
  site.address = address_;
  site.environment = environment_;
  site.cores = widen_core_mask();
  site.launcher = world_.launcher();
  return site;
}

std::vector<std::string> Run::hosts() const {
  std::vector<std::string> hosts;
  for (const AgentShare& share : plan_.placement) hosts.push_back(share.host);
  return hosts;
}

void Run::announce() const {
  const std::vector<std::string> all = hosts();
  const std::set<std::string> hosts(all.begin(), all.end());
  const std::string page = head_->page();
  fmt::print(stderr, "tutti: exchange {}, {}, {}, {}; logs: {}{}\n", plan_.config.exchange,
             count(plan_.config.workers, "worker"), count(plan_.config.shards, "shard"),
             count(static_cast<int>(hosts.size()), "host"), card_.folder, page.empty() ? "" : "; page: " + page);
}

Result<int> Run::work() {
  if (head_) announce();
  agent_.emplace(site(), loop_, guard_, screen_, log_);
  auto exit_code = agent_->run();
  if (!exit_code || !head_) return exit_code;
  if (agent_->dismissed()) {
    const auto finished = head_->finished(in(part_timeout()));
    if (finished && !interrupted()) exit_code = *finished;
  }
  world_.forget(head_->lost_agents());
  tell_end(*exit_code);
  return exit_code;
}

void Run::tell_end(int exit_code) const {
  if (interrupted()) fmt::print(stderr, "tutti: ended by {}\n", strsignal(agent_->interrupted_by()));
  std::vector<std::string> lines = head_->lines();
  const auto found = read_recordings(card_.recordings());
  const std::string waits = found && !lines.empty() ? describe_waits(found->recordings) : "";
  if (!waits.empty()) lines.back() += "; " + waits;
  for (const std::string& line : lines) fmt::print(stderr, "tutti: {}; logs: {}\n", line, card_.folder);
  if (exit_code != 0) fmt::print(stderr, "tutti: {}\n", describe_recordings(card_.recordings(), hosts()));
}

void Run::remove_recordings() const {
  std::error_code ignored;
  if (agent_) std::filesystem::remove_all(card_.recordings(), ignored);
}

}  // namespace

Result<RunConfig> load(const RunRequest& request, const Environment& environment) {
  auto config = load_config(request.file, environment, request.overrides);
  if (config && !request.program.empty()) config->program = request.program;
  return config;
}

int run_as_agent(AgentWorld& world, OrphanGuard& guard, const RunRequest& request, const Environment& environment) {
  Run run(world, guard, environment);
  Result<int> exit_code = 0;
  bool told = false;
  if (const auto agreed = run.agree(request); !agreed) {
    // Everybody knows this failure; one tells it.
    exit_code = agreed.error();
    told = world.rank() != 0;
  } else {
    exit_code = run.work();
  }
  if (!exit_code && !told) fmt::print(stderr, "tutti: {}\n", exit_code.error().text());
  const int own = exit_code ? *exit_code : tutti::exit_code(exit_code.error().code);
  const int agreed = world.leave(own, in(run.part_timeout()));
  run.finish_trace();
  if (own == 0 && agreed == 0) run.remove_recordings();
  return agreed;
}

}  // namespace tutti::launch
