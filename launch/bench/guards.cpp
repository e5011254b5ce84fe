// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/guards.h"

#include <tutti/data_parallel.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <numeric>

#include "common/crc32c.h"
#include "launch/bench/models.h"
#include "launch/bench/turn_line.h"
#include "tutti/error.h"
#include "worker/session_impl.h"

namespace tutti::bench {
namespace {

constexpr int kBatches = 3;
constexpr int kTurn = 5;  // steps of one run before the other's
constexpr int kWarmUpTurns = 2;
constexpr int kDefaultSteps = 200;  // a few checkpoints, and comparisons of the replicas
constexpr double kLearningRate = 1e-3;
constexpr auto kPatience = std::chrono::seconds(60);

using StepTimes = std::vector<double>;  // of each step, in microseconds

/// Batches that are there already: what they cost to load is no part of the measurement.
class PreparedBatches final
    : public torch::data::datasets::BatchDataset<PreparedBatches, Batch, std::vector<std::size_t>> {
 public:
  PreparedBatches(std::array<Batch, kBatches> inputs, std::size_t samples)
      : inputs_(std::move(inputs)), samples_(samples) {}
  Batch get_batch(std::vector<std::size_t>) override { return inputs_[next_++ % kBatches]; }
  std::optional<std::size_t> size() const override { return samples_; }

 private:
  const std::array<Batch, kBatches> inputs_;
  const std::size_t samples_;
  std::size_t next_ = 0;
};

/// One of the two runs.
class GuardsBench {
 public:
  GuardsBench(Session& session, const Options& options)
      : session_(session),
        options_(options),
        turns_(((options.rounds > 0 ? options.rounds : kDefaultSteps) + kTurn - 1) / kTurn),
        trainee_(options.model, kLearningRate),
        parallel_(session, *trainee_.model, {&trainee_.optimizer}, DataParallelOptions()) {
    for (int i = 0; i < kBatches; ++i) inputs_[i] = make_batch(*trainee_.model, session.rank(), i);
    if (session.rank() == 0) line_ = session.impl().check(TurnLine::open(options.turns, is_measured()));
  }
  std::optional<Measurement> run();

 private:
  /// Of the two runs, the one whose cost is measured.
  bool is_measured() const { return options_.side == "guarded" || options_.side == "watched"; }
  StepTimes steps_of_a_loop();
  StepTimes bare_steps();
  template <class Step>
  StepTimes take_turns(Step step);
  StepTimes slowest(StepTimes own);
  std::uint32_t checksum() const;
  void tell(const StepTimes& bare);
  StepTimes hear(std::size_t steps);
  Measurement measurement(const StepTimes& own, const StepTimes& bare) const;

  Session& session_;
  const Options options_;
  const int turns_;
  Trainee trainee_;
  DataParallel parallel_;
  std::array<Batch, kBatches> inputs_;
  std::optional<TurnLine> line_;  // rank 0's
};

// The others wait for rank 0 where the first step begins.
template <class Step>
StepTimes GuardsBench::take_turns(Step step) {
  StepTimes times;
  for (int number = 0; number < kWarmUpTurns + turns_; ++number) {
    const bool has_turn = is_measured() && number == 0;
    if (line_ && !has_turn) session_.impl().check(line_->await(kPatience));
    for (int i = 0; i < kTurn; ++i) {
      session_.barrier();
      const auto begin = std::chrono::steady_clock::now();
      step();
      times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
    }
    session_.barrier();
    if (line_) session_.impl().check(line_->pass());
  }
  times.erase(times.begin(), times.begin() + kWarmUpTurns * kTurn);
  return slowest(std::move(times));
}

StepTimes GuardsBench::slowest(StepTimes own) {
  session_.all_reduce(own, Combine::kMax);
  return own;
}

StepTimes GuardsBench::steps_of_a_loop() {
  // One sample a rank and step: the order of so few costs nothing. And one step that is not taken: a loop tells its
  // last.
  const auto steps = static_cast<std::size_t>(kTurn * (kWarmUpTurns + turns_));
  auto batches =
      parallel_.batches(PreparedBatches(inputs_, (steps + 1) * static_cast<std::size_t>(session_.world_size())),
                        /*per_rank=*/1, /*epochs=*/1);
  auto batch = batches.begin();
  double number = 0;
  return take_turns([&] {
    trainee_.step(*batch);
    session_.log("number", ++number);
    ++batch;
  });
}

StepTimes GuardsBench::bare_steps() {
  std::size_t steps = 0;
  return take_turns([&] { trainee_.step(inputs_[steps++ % kBatches]); });
}

std::uint32_t GuardsBench::checksum() const {
  std::uint32_t sum = 0;
  for (const torch::Tensor& parameter : trainee_.model->parameters())
    sum = crc32c({static_cast<const std::byte*>(parameter.const_data_ptr()), parameter.nbytes()}, sum);
  return sum;
}

void GuardsBench::tell(const StepTimes& bare) {
  const std::uint32_t sum = checksum();
  session_.impl().check(line_->tell(std::as_bytes(std::span(&sum, 1))));
  session_.impl().check(line_->tell(std::as_bytes(std::span(bare))));
}

StepTimes GuardsBench::hear(std::size_t steps) {
  std::uint32_t sum = 0;
  StepTimes bare(steps);
  session_.impl().check(line_->await(kPatience));  // the end of its last turn
  session_.impl().check(line_->hear(std::as_writable_bytes(std::span(&sum, 1)), kPatience));
  session_.impl().check(line_->hear(std::as_writable_bytes(std::span(bare)), kPatience));
  if (sum != checksum()) throw Error(Errc::kInternal, "the two runs' parameters differ");
  return bare;
}

Measurement GuardsBench::measurement(const StepTimes& own, const StepTimes& bare) const {
  const auto sum = [](const StepTimes& times, std::size_t first, std::size_t count) {
    return std::accumulate(times.begin() + static_cast<std::ptrdiff_t>(first),
                           times.begin() + static_cast<std::ptrdiff_t>(first + count), 0.0);
  };
  StepTimes costs;
  for (std::size_t first = 0; first < bare.size(); first += kTurn)
    costs.push_back(sum(own, first, kTurn) / sum(bare, first, kTurn) - 1);

  Measurement result;
  result.bench = options_.bench;
  result.exchange = session_.exchange();
  result.transport = options_.transport;
  result.ranks = session_.world_size();
  result.shards = session_.shards();
  result.model = options_.model;
  for (const torch::Tensor& parameter : trainee_.model->parameters()) result.bytes += parameter.nbytes();
  result.us = summarize(own);
  result.more = {{"bare_us", percentile(bare, 50)},
                 {"cost", percentile(costs, 50)},
                 {"mean_cost", sum(own, 0, own.size()) / sum(bare, 0, bare.size()) - 1},
                 {"rounds", static_cast<double>(own.size())}};
  return result;
}

std::optional<Measurement> GuardsBench::run() {
  const StepTimes own = options_.side == "bare" ? bare_steps() : steps_of_a_loop();
  if (!line_) return std::nullopt;
  if (is_measured()) return measurement(own, hear(own.size()));
  tell(own);
  return std::nullopt;
}

}  // namespace

std::optional<Measurement> measure_guards(Session& session, const Options& options) {
  return GuardsBench(session, options).run();
}

}  // namespace tutti::bench
