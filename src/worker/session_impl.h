// SPDX-License-Identifier: Apache-2.0
// What a Session holds: this process' membership, the exchanges of its models, and how a failure becomes the exception
// a user sees. Thread safety: the training thread, but abort(), which the loop calls.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/clock.h"
#include "common/control/reporter.h"
#include "common/event.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/recording.h"
#include "common/stop_signals.h"
#include "worker/backward_scope.h"
#include "worker/exchange.h"
#include "worker/progress.h"
#include "worker/regroup.h"
#include "worker/rendezvous.h"
#include "worker/session_trace.h"
#include "worker/step_votes.h"

namespace tutti {
class Pulse;
}
namespace tutti::ps {
class Client;
}

namespace tutti::worker {

/// State of the program's own that belongs into checkpoints.
struct UserState {
  std::string name;
  std::function<void(std::ostream&)> save;
  std::function<void(std::istream&)> load;
};

/// LibTorch's settings of the whole process, handed in so that this class needs no LibTorch.
struct TorchSettings {
  bool (*has_gpu)();
  int (*threads)();
  void (*set_threads)(int);
  void (*set_seed)(std::uint64_t);
  void (*set_deterministic)();
  std::string (*gpu_bus_id)(int index);  ///< of the GPU; empty: none
};

class Checkpoints;
class Scalars;
struct GradientNumbers;

class SessionImpl {
 public:
  /// `mpi` is the user's communicator, or null. Throws what meet() fails with.
  SessionImpl(const Environment& environment, std::unique_ptr<MpiWorld> mpi, const TorchSettings& torch);
  ~SessionImpl();

  const Identity& identity() const noexcept { return meeting_.identity; }
  const RunConfig& config() const noexcept { return meeting_.config; }
  Member* member() noexcept { return meeting_.member.get(); }
  MpiWorld* mpi() noexcept { return meeting_.mpi.get(); }
  Loop* loop() noexcept { return meeting_.loop.get(); }
  const Rendezvous& meeting() const noexcept { return meeting_; }
  std::string name() const;
  const Logger& logger() const noexcept { return log_; }
  const Clock& clock() const noexcept { return clock_; }
  EventSink& events() noexcept { return events_; }
  /// An event of this rank at its step.
  void record(EventKind kind) noexcept;
  /// Of a wait for the others, a question or a transfer. Where lost ranks are replaced, it comes after the coordinator
  /// has found and replaced the one that is waited for.
  Deadline deadline() const;
  std::uint64_t seed() const noexcept { return config().seed; }
  int threads() const { return torch_.threads(); }
  bool on_gpu() const { return torch_.has_gpu(); }

  // --- exchanges
  std::string_view exchange_name() const noexcept { return exchange_name_; }
  /// Whether gradients travel at all: `local` sets no hooks.
  bool exchanges() const noexcept { return exchange_name_ != "local"; }
  /// The connections to the parameter server, made when first asked for.
  ps::Client& shards();
  std::unique_ptr<Exchange> make_exchange(std::uint32_t object);
  std::uint32_t next_object() noexcept { return objects_++; }
  void attend(Exchange& exchange);  ///< until forget(): an abort of the run ends its waits
  void forget(Exchange& exchange) noexcept;
  BackwardScope& backward_scope() noexcept { return scope_; }
  /// Backwards of any model that exchanged so far.
  std::uint64_t exchange_count() const noexcept { return exchange_count_; }

  // --- generations
  /// Null where lost ranks are not replaced.
  Regrouper* regrouper() noexcept { return regrouper_.get(); }
  /// This process takes a lost one's place, and has not gone on with the others yet.
  bool is_newcomer() const noexcept { return regrouper_ && regrouper_->is_newcomer(); }

  // --- iterations
  /// The step is known to the others from here on, and random numbers are those of (seed, step, rank). `rank` is not
  /// this process' where one plays several in turn.
  void begin_iteration(std::uint64_t step, int rank);
  void end_iteration();
  std::uint64_t step() const noexcept { return step_; }
  /// An optimizer step is done: `samples` were seen by all ranks together; 0: unknown.
  void step_done(std::size_t samples) noexcept;
  /// The same, for those that show how far the run is.
  void advance(const RunPosition& position, std::size_t samples);
  /// The program's own number.
  void log(std::string_view name, double value);
  /// Of the step under way. REQUIRES: scalars().
  void show_gradients(const GradientNumbers& numbers);
  Progress& progress() noexcept { return progress_; }
  /// Null but on rank 0 where `tensorboard` is configured.
  Scalars* scalars() noexcept { return scalars_.get(); }
  std::vector<UserState>& user_states() noexcept { return user_states_; }
  Checkpoints& checkpoints() noexcept { return *checkpoints_; }

  // --- being asked to stop
  /// Signals and the agent's wish are heard from here on. Idempotent.
  void listen_for_stop();
  /// What this rank was asked for, by a signal, its agent or the coordinator.
  Wishes wishes() const noexcept;
  /// All ranks have read this at the end of the same exchange.
  void decided(const Outcome& outcome) noexcept;
  /// What all ranks do after the iteration that has ended.
  Wishes agreed() const noexcept { return exchanges() ? agreed_ : wishes(); }
  bool stop_agreed() const noexcept { return agreed().stop; }
  /// Whether all ranks save now; that is then done.
  bool take_wish_to_save() noexcept;
  void set_stopping() noexcept { stopping_ = true; }
  bool stopping() const noexcept { return stopping_; }
  /// After the run was left: the process is to end with a code that says so.
  bool ends_stopped() const noexcept;
  /// Whether it was the user, by the run's page; of a managed run the coordinator knows. To be read after the run was
  /// left: by then all ranks have been told.
  std::shared_ptr<const std::atomic<bool>> stopped_by_user() const noexcept { return wants_stop_; }

  // --- failures
  /// Tells the coordinator where the failure is this rank's own, then throws its public exception.
  [[noreturn]] void raise(const Failure& failure);
  void check(const Result<>& result) {
    if (!result) raise(result.error());
  }
  template <class T>
  T check(Result<T> result) {
    if (!result) raise(result.error());
    return std::move(*result);
  }
  /// One line on stderr unless another rank's failure was the cause, then the process ends with the code's exit code.
  /// For uncaught errors.
  [[noreturn]] void end_process(Errc code, std::string_view what) noexcept;

 private:
  void start_pulse();
  void start_reports();
  std::string slowest_rank();
  void await_lease();
  void open_event_files();
  void open_scalars();
  void close_event_files() noexcept;
  void keep_freed_memory();
  void set_up_torch(const Environment& environment);
  void choose_exchange();
  void watch_generations();
  void supersede(const Regroup& regroup);
  void abort(const Failure& cause);
  void leave() noexcept;

  const TorchSettings torch_;
  const bool owns_process_;  ///< not where MPI is the program's own
  const std::thread::id training_thread_ = std::this_thread::get_id();
  const SteadyClock clock_;
  Logger log_;
  std::unique_ptr<SessionTrace> trace_;  // where one was asked for
  std::unique_ptr<Recorder> recorder_;   // null: none is wanted, or there is no room
  std::unique_ptr<Pulse> pulse_;         // managed runs'
  MetricsCounter metrics_;
  std::unique_ptr<Scalars> scalars_;  // where they were asked for, on rank 0
  EventTee events_;                   // these six outlive the loop, which records too
  Rendezvous meeting_;
  std::string exchange_name_;
  const int exceptions_at_start_;
  std::unique_ptr<Reporter> reporter_;  // where the run is watched
  std::unique_ptr<ps::Client> shards_;
  BackwardScope scope_;
  std::unique_ptr<Regrouper> regrouper_;
  Progress progress_;
  std::vector<UserState> user_states_;
  std::unique_ptr<Checkpoints> checkpoints_;
  std::uint32_t objects_ = 0;
  std::uint64_t step_ = 0;
  std::uint64_t exchange_count_ = 0;
  std::optional<StopSignals> stop_signals_;
  const std::shared_ptr<std::atomic<bool>> wants_stop_ = std::make_shared<std::atomic<bool>>(false);  // set by the loop
  std::atomic<bool> wants_save_ = false;                                                              // the same
  Wishes agreed_;
  bool has_begun_ = false, stopping_ = false;

  std::mutex mutex_;
  std::vector<Exchange*> attended_;  // guarded by mutex_
  std::optional<Failure> aborted_;   // guarded by mutex_
};

}  // namespace tutti::worker
