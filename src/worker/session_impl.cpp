// SPDX-License-Identifier: Apache-2.0
#include "worker/session_impl.h"

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <limits>
#include <thread>

#include "common/control/absence.h"
#include "common/pulse.h"
#include "common/stack_file.h"
#include "ps/client.h"
#include "tutti/error.h"
#include "worker/checkpoints.h"
#include "worker/exchange_factory.h"
#include "worker/progress_output.h"
#include "worker/scalars.h"
#include "worker/sharded_order.h"
#ifdef TUTTI_WITH_MPI
#include "common/mpi/mpi_world.h"
#endif

namespace tutti::worker {
namespace {

constexpr auto kLeaseLook = std::chrono::milliseconds(5);

Rendezvous meet_or_raise(const Environment& environment, std::unique_ptr<MpiWorld> mpi, const Clock& clock,
                         Logger& log) {
  auto meeting = meet(environment, std::move(mpi), clock, log);
  if (!meeting) tutti::raise(meeting.error());
  return std::move(*meeting);
}

}  // namespace

SessionImpl::SessionImpl(const Environment& environment, std::unique_ptr<MpiWorld> mpi, const TorchSettings& torch)
    : torch_(torch),
      owns_process_(mpi == nullptr),
      log_(Logger::to_stderr("tutti")),
      meeting_(meet_or_raise(environment, std::move(mpi), clock_, log_)),
      exceptions_at_start_(std::uncaught_exceptions()),
      scope_({[this] { return deadline(); }, [this] { ++exchange_count_; },
              [this] {
                if (member() == nullptr) return;
                member()->report_failure(
                    fail(Errc::kInternal, fmt::format("{}: backward() of step {} ended by an exception after a part of "
                                                      "its gradients was sent",
                                                      name(), step_)));
              },
              [this](const Failure& failure) { raise(failure); }}),
      progress_(clock_, from_seconds(config().progress_s), metrics_,
                identity().rank == 0 ? progress_output(identity().way, environment, log_) : Progress::Show()) {
  events_.add(metrics_);
  start_pulse();
  open_event_files();
  set_up_torch(environment);
  choose_exchange();
  watch_generations();
  start_reports();
  checkpoints_ = std::make_unique<Checkpoints>(*this);
  if (member() != nullptr) member()->on_abort([this](const Failure& cause) { abort(cause); });
}

SessionImpl::~SessionImpl() {
  if (scalars_) scalars_->finish();
  leave();
  checkpoints_.reset();
  shards_.reset();
  close_event_files();
}

void SessionImpl::start_pulse() {
  if (!meeting_.status) return;
  pulse_ = tutti::start_pulse(*loop(), *meeting_.status, from_seconds(config().timeout_s), log_);
  if (pulse_) events_.add(*pulse_);
}

void SessionImpl::start_reports() {
  if (member() == nullptr) return;
  member()->on_wish([this](Wish wish) { (wish == Wish::kStop ? *wants_stop_ : wants_save_) = true; });
  if (config().monitor_port < 0) return;
  Reporter::Options options;
  if (on_gpu()) options.gpu = torch_.gpu_bus_id(identity().local_rank);
  reporter_ = std::make_unique<Reporter>(
      *loop(), metrics_, clock_, [this](std::string report) { member()->report(std::move(report)); }, options);
}

void SessionImpl::open_event_files() {
  trace_ = check(SessionTrace::begin(meeting_, deadline(), log_));
  if (trace_) events_.add(trace_->part());
  open_scalars();
  const RecordedProcess self{.role = Role::kWorker,
                             .rank = identity().rank,
                             .generation = member() ? member()->generation() : 1,
                             .pid = 0,
                             .host = identity().host};
  recorder_ = begin_recording(meeting_.recordings, self, log_);
  if (recorder_) {
    events_.add(*recorder_);
    const auto armed = write_stack_when_asked(stack_path(recorder_->path()));
    if (!armed) log_.warning("leaves no stack if it is stuck: {}", armed.error().text());
  }
  if (member() != nullptr) member()->record_to(events_);
}

// A folder that cannot be had ends a run at its start. One that is gone later does not, also not by who takes a lost
// rank 0's place.
void SessionImpl::open_scalars() {
  if (config().tensorboard.empty() || identity().rank != 0) return;
  const double wall_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  auto file = EventFile::create(config().tensorboard, identity().host, wall_s);
  if (!file && identity().newcomer) return log_.warning("TensorBoard gets nothing: {}", file.error().text());
  scalars_ = std::make_unique<Scalars>(check(std::move(file)), clock_, wall_s, metrics_, log_, to_toml(config()),
                                       config().tensorboard_histograms_every);
  events_.add(*scalars_);
}

// In a managed run the agents know whether all of it ended well, and take the recordings away.
void SessionImpl::close_event_files() noexcept {
  const bool ended_well = std::uncaught_exceptions() == exceptions_at_start_;
  if (recorder_ && ended_well && identity().way != Way::kManaged) {
    recorder_->discard();
    discard_stack_file(stack_path(recorder_->path()));
    ::rmdir(meeting_.recordings.c_str());  // which the last one to leave succeeds in
    ::rmdir(std::filesystem::path(meeting_.recordings).parent_path().c_str());
  }
  if (trace_) trace_->finish(log_);
}

// glibc gives freed blocks above a threshold back to the system and takes them back, page by page, at the next step.
void SessionImpl::keep_freed_memory() {
  if (!config().keep_freed_memory || on_gpu()) return;
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the highest that glibc takes
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
}

void SessionImpl::set_up_torch(const Environment& environment) {
  keep_freed_memory();
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (config().threads > 0)
    torch_.set_threads(config().threads);
  else if (!environment.contains("OMP_NUM_THREADS"))
    torch_.set_threads(std::max(1, cores / identity().local_size));
  torch_.set_seed(mix(seed(), 0, 0));  // the same model on every rank even before rank 0's is sent
  if (config().deterministic) torch_.set_deterministic();
}

void SessionImpl::choose_exchange() {
  auto chosen = choose(config(), identity(), on_gpu());
  if (!chosen) raise(chosen.error());
  exchange_name_ = *chosen;
  const std::string_view engine = between_hosts(exchange_name_);
  if (identity().rank == 0 && (engine == "gloo" || engine == "mpi" || engine == "nccl")) {
    log_.info("exchange {} runs on {} without proof of the job's secret", exchange_name_, identity().address);
  }
}

std::string SessionImpl::name() const {
  return fmt::format("rank {} on {}", identity().rank, identity().host);
}

Deadline SessionImpl::deadline() const {
  return clock_.now() + (regrouper_ ? kCutOffTimeouts : 1) * from_seconds(config().timeout_s);
}

ps::Client& SessionImpl::shards() {
  if (shards_) return *shards_;
  shards_ = check(make_client(*this));
  return *shards_;
}

std::unique_ptr<Exchange> SessionImpl::make_exchange(std::uint32_t object) {
  return check(tutti::worker::make_exchange(*this, object));
}

void SessionImpl::attend(Exchange& exchange) {
  const std::lock_guard lock(mutex_);
  attended_.push_back(&exchange);
  if (aborted_) exchange.abort(*aborted_);
}

void SessionImpl::forget(Exchange& exchange) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(attended_, &exchange);
}

void SessionImpl::abort(const Failure& cause) {
  record(EventKind::kRunEnded);
  const std::lock_guard lock(mutex_);
  aborted_ = cause;
  for (Exchange* exchange : attended_) exchange->abort(cause);
  if (regrouper_) regrouper_->interrupt();
}

void SessionImpl::watch_generations() {
  if (identity().way != Way::kManaged || config().replacements == 0) return;
  regrouper_ = std::make_unique<Regrouper>(meeting_, clock_, events_, log_);
  member()->on_superseded([this] { return regrouper_->run(); });
  member()->on_regroup([this](const Regroup& regroup) { supersede(regroup); });
}

void SessionImpl::supersede(const Regroup& regroup) {
  {
    const std::lock_guard lock(mutex_);
    const Failure cause = fail(Errc::kSuperseded, regroup.why);
    for (Exchange* exchange : attended_) exchange->abort(cause);
  }
  regrouper_->interrupt();
}

// Without a lease this rank's place may have been given away: then the others are in a later generation, and nothing
// that it did would count.
void SessionImpl::await_lease() {
  if (!meeting_.status || !meeting_.status->lease_ended(clock_.now())) return;
  const Deadline give_up = deadline();
  while (meeting_.status->lease_ended(clock_.now())) {
    if (const auto end = member()->aborted()) raise(*end);
    if (clock_.now() > give_up) raise(fail(Errc::kUnavailable, name() + " has no lease: the coordinator is silent"));
    std::this_thread::sleep_for(kLeaseLook);
  }
}

void SessionImpl::begin_iteration(std::uint64_t step, int rank) {
  await_lease();
  step_ = step;
  has_begun_ = true;
  if (meeting_.status) meeting_.status->set_step(step);
  if (member() != nullptr) member()->progress(step);
  record(EventKind::kIterationBegin);
  torch_.set_seed(mix(seed(), step + 1, static_cast<std::uint64_t>(rank)));
}

void SessionImpl::end_iteration() {
  record(EventKind::kIterationEnd);
}

void SessionImpl::step_done(std::size_t samples) noexcept {
  const std::size_t own = samples / static_cast<std::size_t>(identity().world_size);
  events_.record({clock_.now(), EventKind::kStepDone, identity().rank, 0, step_, 0, 0, own});
}

void SessionImpl::advance(const RunPosition& position, std::size_t samples) {
  if (reporter_) reporter_->set_position(position);
  progress_.advance(position, samples);
}

void SessionImpl::log(std::string_view name, double value) {
  progress_.log(name, value);
  if (scalars_) scalars_->log(name, value);
  if (reporter_ && identity().rank == 0)
    reporter_->log(name, has_begun_ ? static_cast<std::int64_t>(step_) + 1 : 0, value);
}

void SessionImpl::show_gradients(const GradientNumbers& numbers) {
  const std::int64_t step = static_cast<std::int64_t>(step_) + 1;
  scalars_->gradients(step, numbers);
  if (reporter_ && numbers.norm) reporter_->log(kGradientNorm, step, *numbers.norm);
}

void SessionImpl::record(EventKind kind) noexcept {
  events_.record({clock_.now(), kind, identity().rank, 0, step_, 0, 0, 0});
}

void SessionImpl::listen_for_stop() {
  if (stop_signals_) return;
  stop_signals_.emplace(meeting_.status ? &*meeting_.status : nullptr);
  if (meeting_.status) meeting_.status->set_listening();
}

Wishes SessionImpl::wishes() const noexcept {
  return {.stop = stop_signals_ && (stop_signals_->asked() || *wants_stop_), .save = wants_save_};
}

// A wish that is agreed on is not told again in the next step.
void SessionImpl::decided(const Outcome& outcome) noexcept {
  agreed_.stop = agreed_.stop || outcome.wishes.stop;
  if (!outcome.wishes.save) return;
  agreed_.save = true;
  wants_save_ = false;
}

bool SessionImpl::take_wish_to_save() noexcept {
  return exchanges() ? std::exchange(agreed_.save, false) : wants_save_.exchange(false);
}

bool SessionImpl::ends_stopped() const noexcept {
  return stopping_ && owns_process_ && std::uncaught_exceptions() == exceptions_at_start_;
}

void SessionImpl::raise(const Failure& failure) {
  if (scalars_) scalars_->finish();
  std::optional<Failure> cause;
  {
    const std::lock_guard lock(mutex_);
    cause = aborted_;
  }
  // What the run ended of is the cause of whatever fails here afterwards.
  if (cause) tutti::raise(*cause);
  if (failure.code == Errc::kSuperseded && regrouper_) tutti::raise(regrouper_->give_up("is not in its training loop"));
  if (member() != nullptr) member()->report_failure(failure);
  tutti::raise(failure);
}

void SessionImpl::end_process(Errc code, std::string_view what) noexcept {
  std::fflush(nullptr);  // first: once the coordinator knows, this process may be killed
  if (scalars_ && std::this_thread::get_id() == training_thread_) scalars_->finish();
  if (trace_ && std::this_thread::get_id() == training_thread_) trace_->finish(log_);
  const bool told_already = member() != nullptr && member()->aborted().has_value();
  progress_.clear();
  if (!told_already) {
    std::fprintf(stderr, "tutti: %.*s\n", static_cast<int>(what.size()), what.data());
    if (member() != nullptr) member()->report_failure(fail(code, std::string(what)));
  }
  ::_exit(exit_code(code));
}

// Steps are in lockstep: the rank for which the others wait is the one that waits least. Who took a lost one's place
// has been there for a shorter time: what counts is the part of it.
std::string SessionImpl::slowest_rank() {
  if (member() == nullptr || !exchanges() || identity().world_size == 1) return "";
  const Metrics metrics = metrics_.snapshot();
  const double trained = std::max(to_seconds(metrics.trained), 1e-9);
  const auto all =
      member()->all_gather(fmt::format("{} {}", to_seconds(metrics.waited) / trained, identity().host), deadline());
  if (!all) end_process(all.error().code, all.error().text());
  return describe_slowest(*all);
}

void SessionImpl::leave() noexcept {
  if (std::uncaught_exceptions() > exceptions_at_start_) return;
  // A destructor cannot throw: the run's end is told the way an uncaught error is.
  if (auto saved = checkpoints_->finish(); !saved) end_process(saved.error().code, saved.error().text());
  progress_.finish(slowest_rank());  // now: a process that has left may be ended
  reporter_.reset();
  if (member() == nullptr) return;
  if (auto left = member()->leave(deadline()); !left) {
    end_process(left.error().code, left.error().text());
  }
#ifdef TUTTI_WITH_MPI
  if (mpi() == nullptr) return;
  if (auto ended = mpi()->finalize(); !ended) log_.warning("{}", ended.error().text());
#endif
}

}  // namespace tutti::worker
