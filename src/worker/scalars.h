// SPDX-License-Identifier: Apache-2.0
// Rank 0's numbers for TensorBoard: what the program logs, what a step takes, what its gradients are. Steps are counted
// as the progress line counts them: the first is 1, and what is logged before it is at 0.
// Thread safety: the training thread; record() from any, but events of iterations from that one only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "common/distribution.h"
#include "common/event.h"
#include "common/event_file.h"
#include "common/log.h"
#include "common/metrics.h"

namespace tutti::worker {

/// What is to be known of a step's gradients.
struct GradientQuestions {
  bool norm = false, distributions = false;
  bool any() const noexcept { return norm || distributions; }
};

struct GradientNumbers {
  std::optional<double> norm;  ///< of all parameters' together
  Duration norm_took{};
  /// By the parameter's name; without those that have no gradient.
  std::vector<std::pair<std::string, Distribution>> distributions;
};

/// The norm's name.
inline constexpr std::string_view kGradientNorm = "tutti/gradient_norm";

class Scalars final : public EventSink {
 public:
  using Rates = std::function<std::vector<double>()>;
  /// `histograms_every`: steps; 0: none. `wall_s`: seconds since 1970 now. The configuration, as TOML, is the first
  /// that is written. `metrics`, which counts the same events, outlives this.
  Scalars(std::unique_ptr<EventFile> file, const Clock& clock, double wall_s, const MetricsCounter& metrics,
          const Logger& log, const std::string& configuration, int histograms_every);
  ~Scalars() override;

  /// At the step under way, or the last one.
  void log(std::string_view name, double value);
  /// Before the last gradients of this step: the norm twice a second, or as often as it takes no more than half a
  /// percent of the time; distributions as they are configured. Who asks for a step and then has no gradients has
  /// nothing to tell; the next time has its own.
  GradientQuestions ask_gradients(std::int64_t step);
  void gradients(std::int64_t step, const GradientNumbers& numbers);
  /// An optimizer step is done: `samples` were seen by all ranks together (0: unknown). Twice a second what the steps
  /// since then took on average is written, and the learning rates of the optimizers' groups.
  void end_step(std::int64_t step, std::size_t samples, const Rates& learning_rates);
  /// A few stores.
  void record(const Event& event) noexcept override;
  /// What there is reaches the file, the averages of the last steps too: at the end of the run, and where a failure may
  /// be its end. Otherwise that happens once a second. A file that takes no more is told once.
  void finish();

 private:
  void go_to(std::int64_t step) noexcept;
  EventTime at(std::int64_t step, TimePoint time) const;
  EventFile& file_at(TimePoint now);
  void write_averages();
  void write_learning_rates(const std::vector<double>& rates);
  void flush_if_due(TimePoint now);
  void flush();

  const std::unique_ptr<EventFile> file_;
  const Clock& clock_;
  const TimePoint began_;
  const double began_wall_s_;
  const MetricsCounter& metrics_;
  const Logger log_;
  const int histograms_every_;
  std::int64_t step_ = 0;
  bool begins_anew_ = true;  // at step_, which the file is still to say
  TimePoint flushed_;
  std::optional<TimePoint> asked_for_norm_;
  Duration between_norms_{std::chrono::milliseconds(500)};
  // Since the averages were last written, at the end of a step.
  std::optional<TimePoint> since_;
  TimePoint last_end_{};
  std::int64_t last_step_ = 0;
  std::int64_t steps_ = 0;
  std::size_t samples_ = 0;
  Metrics before_;
};

}  // namespace tutti::worker
