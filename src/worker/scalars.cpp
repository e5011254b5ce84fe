// SPDX-License-Identifier: Apache-2.0
#include "worker/scalars.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace tutti::worker {
namespace {

using namespace std::chrono_literals;

constexpr int kNormShare = 200;  // one part in so many of the time is the norm's
constexpr Duration kBetweenAverages = 500ms, kBetweenFlushes = 1s;
constexpr std::size_t kUnwrittenMax = 64 << 10;

}  // namespace

Scalars::Scalars(std::unique_ptr<EventFile> file, const Clock& clock, double wall_s, const MetricsCounter& metrics,
                 const Logger& log, const std::string& configuration, int histograms_every)
    : file_(std::move(file)),
      clock_(clock),
      began_(clock.now()),
      began_wall_s_(wall_s),
      metrics_(metrics),
      log_(log),
      histograms_every_(histograms_every),
      flushed_(began_) {
  file_->text({0, wall_s}, "configuration", "```\n" + configuration + "```\n");
  flush();
}

Scalars::~Scalars() {
  finish();
}

void Scalars::finish() {
  if (steps_ > 0) write_averages();
  flush();
}

void Scalars::log(std::string_view name, double value) {
  const TimePoint now = clock_.now();
  file_at(now).scalar(at(step_, now), name, value);
  flush_if_due(now);
}

GradientQuestions Scalars::ask_gradients(std::int64_t step) {
  const TimePoint now = clock_.now();
  GradientQuestions asked;
  asked.norm = !asked_for_norm_ || now - *asked_for_norm_ >= between_norms_;
  asked.distributions = histograms_every_ > 0 && step % histograms_every_ == 0;
  if (asked.norm) asked_for_norm_ = now;
  return asked;
}

void Scalars::gradients(std::int64_t step, const GradientNumbers& numbers) {
  go_to(step);
  const TimePoint now = clock_.now();
  const EventTime when = at(step, now);
  EventFile& file = file_at(now);
  if (numbers.norm) {
    file.scalar(when, kGradientNorm, *numbers.norm);
    between_norms_ = std::max(kBetweenAverages, kNormShare * numbers.norm_took);
  }
  for (const auto& [name, distribution] : numbers.distributions) {
    if (distribution.finite > 0) file.histogram(when, "gradient/" + name, distribution);
    if (distribution.not_finite > 0)
      file.scalar(when, "gradient_not_finite/" + name, static_cast<double>(distribution.not_finite));
  }
}

void Scalars::end_step(std::int64_t step, std::size_t samples, const Rates& learning_rates) {
  go_to(step);
  last_step_ = step;
  last_end_ = clock_.now();
  const bool is_first = !since_;
  if (is_first) {
    since_ = last_end_;  // it warms up: it counts for no average
    before_ = metrics_.snapshot();
  } else {
    ++steps_;
    samples_ += samples;
  }
  file_at(last_end_);
  const bool averages_due = last_end_ - *since_ >= kBetweenAverages;
  if (is_first || averages_due) write_learning_rates(learning_rates());
  if (averages_due) write_averages();
  flush_if_due(last_end_);
}

void Scalars::record(const Event& event) noexcept {
  if (event.kind == EventKind::kIterationBegin) go_to(static_cast<std::int64_t>(event.step) + 1);
}

// A process begins where its run goes on, and goes back where the ranks' parameters had come to differ.
void Scalars::go_to(std::int64_t step) noexcept {
  if (step < step_) begins_anew_ = true;
  step_ = step;
}

EventTime Scalars::at(std::int64_t step, TimePoint time) const {
  return {step, began_wall_s_ + to_seconds(time - began_)};
}

EventFile& Scalars::file_at(TimePoint now) {
  if (step_ > 0 && std::exchange(begins_anew_, false)) file_->restart(at(step_, now));
  return *file_;
}

void Scalars::write_averages() {
  const EventTime when = at(last_step_, last_end_);
  const double seconds = to_seconds(last_end_ - *since_);
  const auto steps = static_cast<double>(steps_);
  if (seconds > 0 && samples_ > 0) file_->scalar(when, "tutti/samples_per_s", static_cast<double>(samples_) / seconds);
  file_->scalar(when, "tutti/step_s", seconds / steps);
  const Metrics metrics = metrics_.snapshot();
  const std::pair<const char*, Duration> parts[] = {{"tutti/exposed_s", metrics.waited - before_.waited},
                                                    {"tutti/data_s", metrics.between - before_.between},
                                                    {"tutti/checkpoint_s", metrics.stalled - before_.stalled}};
  for (const auto& [name, part] : parts) {
    if (part > Duration::zero()) file_->scalar(when, name, to_seconds(part) / steps);
  }
  before_ = metrics;
  since_ = last_end_;
  steps_ = 0;
  samples_ = 0;
}

void Scalars::write_learning_rates(const std::vector<double>& rates) {
  const EventTime when = at(last_step_, last_end_);
  for (std::size_t i = 0; i < rates.size(); ++i) {
    const std::string tag = rates.size() == 1 ? "tutti/learning_rate" : fmt::format("tutti/learning_rate/{}", i);
    file_->scalar(when, tag, rates[i]);
  }
}

void Scalars::flush_if_due(TimePoint now) {
  if (now - flushed_ < kBetweenFlushes && file_->unwritten_bytes() < kUnwrittenMax) return;
  flushed_ = now;
  flush();
}

void Scalars::flush() {
  const auto written = file_->flush();
  if (!written) log_.warning("TensorBoard gets nothing more of this run: {}", written.error().text());
}

}  // namespace tutti::worker
