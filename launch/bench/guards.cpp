// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/guards.h"

#include <tutti/data_parallel.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <numeric>

#include "launch/bench/models.h"
#include "tutti/error.h"

namespace tutti::bench {
namespace {

constexpr int kInputs = 3;
constexpr int kTurn = 5;  // steps of one model before the other's
constexpr int kWarmUpTurns = 2;
constexpr int kDefaultRounds = 200;  // a few checkpoints, and comparisons of the replicas
constexpr double kLearningRate = 1e-3;

/// Batches that are there already: what they cost to load is no part of the measurement.
class PreparedBatches final
    : public torch::data::datasets::BatchDataset<PreparedBatches, Batch, std::vector<std::size_t>> {
 public:
  PreparedBatches(std::array<Batch, kInputs> inputs, std::size_t samples)
      : inputs_(std::move(inputs)), samples_(samples) {}
  Batch get_batch(std::vector<std::size_t>) override { return inputs_[next_++ % kInputs]; }
  std::optional<std::size_t> size() const override { return samples_; }

 private:
  const std::array<Batch, kInputs> inputs_;
  const std::size_t samples_;
  std::size_t next_ = 0;
};

class GuardsBench {
 public:
  GuardsBench(Session& session, const Options& options)
      : session_(session),
        model_(options.model),
        turns_(((options.rounds > 0 ? options.rounds : kDefaultRounds) + kTurn - 1) / kTurn),
        guarded_(options.model, kLearningRate),
        bare_(options.model, kLearningRate),
        parallel_(session, *guarded_.model, {&guarded_.optimizer}, DataParallelOptions()),
        bare_parallel_(session, *bare_.model, {&bare_.optimizer}, DataParallelOptions().nan_policy("ignore")) {
    for (int i = 0; i < kInputs; ++i) inputs_[i] = make_batch(*bare_.model, session.rank(), i);
  }
  Measurement run();

 private:
  using Times = std::vector<double>;  // of each step, in microseconds

  template <class Step>
  void turn(Times& times, Step step);
  Times slowest(const Times& own);
  void expect_same_bits() const;
  Measurement measurement(const Times& guarded, const Times& bare) const;

  Session& session_;
  const std::string model_;
  const int turns_;
  Trainee guarded_, bare_;
  DataParallel parallel_, bare_parallel_;
  std::array<Batch, kInputs> inputs_;
};

template <class Step>
void GuardsBench::turn(Times& times, Step step) {
  for (int i = 0; i < kTurn; ++i) {
    session_.barrier();
    const auto begin = std::chrono::steady_clock::now();
    step();
    times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
}

std::vector<double> GuardsBench::slowest(const Times& own) {
  Times slowest = own;
  for (const std::string& bytes :
       session_.all_gather(std::string(reinterpret_cast<const char*>(own.data()), own.size() * sizeof(double)))) {
    for (std::size_t i = 0; i < slowest.size(); ++i) {
      double other = 0;
      std::memcpy(&other, bytes.data() + i * sizeof other, sizeof other);
      slowest[i] = std::max(slowest[i], other);
    }
  }
  return slowest;
}

void GuardsBench::expect_same_bits() const {
  const auto guarded = guarded_.model->named_parameters(), bare = bare_.model->named_parameters();
  for (std::size_t p = 0; p < guarded.size(); ++p) {
    if (torch::equal(guarded[p].value(), bare[p].value())) continue;
    throw Error(Errc::kInternal, "\"" + guarded[p].key() + "\" of the guarded model differs from the bare one's");
  }
}

Measurement GuardsBench::measurement(const Times& guarded, const Times& bare) const {
  const auto sum = [](const Times& times, std::size_t first, std::size_t count) {
    return std::accumulate(times.begin() + static_cast<std::ptrdiff_t>(first),
                           times.begin() + static_cast<std::ptrdiff_t>(first + count), 0.0);
  };
  Times costs;
  for (std::size_t first = 0; first < bare.size(); first += kTurn)
    costs.push_back(sum(guarded, first, kTurn) / sum(bare, first, kTurn) - 1);

  Measurement result;
  result.bench = "guards";
  result.exchange = session_.exchange();
  result.ranks = session_.world_size();
  result.shards = session_.shards();
  result.model = model_;
  for (const torch::Tensor& parameter : guarded_.model->parameters()) result.bytes += parameter.nbytes();
  result.us = summarize(guarded);
  result.more = {{"bare_us", percentile(bare, 50)},
                 {"cost", percentile(costs, 50)},
                 {"mean_cost", sum(guarded, 0, guarded.size()) / sum(bare, 0, bare.size()) - 1},
                 {"rounds", static_cast<double>(guarded.size())}};
  return result;
}

Measurement GuardsBench::run() {
  const std::size_t steps = static_cast<std::size_t>(kTurn * (kWarmUpTurns + turns_));
  // One sample a rank and step: the order of so few costs nothing. And one step that is not taken: a loop tells its
  // last.
  auto batches =
      parallel_.batches(PreparedBatches(inputs_, (steps + 1) * static_cast<std::size_t>(session_.world_size())),
                        /*per_rank=*/1, /*epochs=*/1);
  auto batch = batches.begin();
  std::size_t bare_steps = 0;
  Times guarded, bare;
  for (int number = 0; number < kWarmUpTurns + turns_; ++number) {
    turn(guarded, [&] {
      guarded_.step(*batch);
      ++batch;
    });
    turn(bare, [&] { bare_.step(inputs_[bare_steps++ % kInputs]); });
  }
  expect_same_bits();
  constexpr std::ptrdiff_t kWarmUp = kWarmUpTurns * kTurn;
  guarded.erase(guarded.begin(), guarded.begin() + kWarmUp);
  bare.erase(bare.begin(), bare.begin() + kWarmUp);
  return measurement(slowest(guarded), slowest(bare));
}

}  // namespace

Measurement measure_guards(Session& session, const Options& options) {
  Measurement result = GuardsBench(session, options).run();
  result.transport = options.transport;
  return result;
}

}  // namespace tutti::bench
