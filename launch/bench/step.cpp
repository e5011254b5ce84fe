// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/step.h"

#include <torch/torch.h>

#include <array>
#include <chrono>
#include <limits>
#include <sstream>
#include <utility>

#include "launch/bench/models.h"
#include "tutti/error.h"

namespace tutti::bench {
namespace {

constexpr int kInputs = 3;
constexpr int kWarmUps = 3;
constexpr int kBlock = 5;  // steps with and without exchange take turns in blocks of so many
constexpr int kDefaultRounds = 20;
constexpr float kSmallestNormal =
    std::numeric_limits<float>::min();  // what is smaller has no relative error to keep to

using Clock = std::chrono::steady_clock;
double us(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::micro>(end - begin).count();
}

struct Times {
  std::vector<double> step, forward, backward, optimizer;
};

/// What averaging has to give for one input, parameter by parameter.
struct Expected {
  std::vector<torch::Tensor> average;
  std::vector<torch::Tensor> magnitude;  ///< mean over the ranks of the absolute value; where a tolerance needs it
};

class StepBench {
 public:
  StepBench(Averaging& averaging, const StepSettings& settings)
      : averaging_(averaging),
        settings_(settings),
        together_(settings.model, /*learning_rate=*/0),
        alone_(settings.model, /*learning_rate=*/0) {
    for (int i = 0; i < kInputs; ++i) {
      inputs_[i] = make_batch(*alone_.model, settings.rank, i);
      expected_[i] = expect(i);
    }
    averaging_.attach(*together_.model, together_.optimizer);
  }
  Measurement run();

 private:
  Expected expect(int input);
  void step(Trainee& trainee, Times& times);
  void verify(int input) const;
  torch::Tensor is_right(const Expected& expected, std::size_t p, const torch::Tensor& gradient) const;
  double median(const std::vector<double>& samples) const { return percentile(averaging_.collect(samples), 50); }

  Averaging& averaging_;
  const StepSettings settings_;
  Trainee together_, alone_;
  std::array<Batch, kInputs> inputs_;
  std::array<Expected, kInputs> expected_;
  int steps_ = 0;
};

// In rank order, the first one copied, then one division: what a reduction in rank order gives to the bit.
Expected StepBench::expect(int input) {
  Expected expected;
  for (int rank = 0; rank < settings_.ranks; ++rank) {
    alone_.optimizer.zero_grad();
    alone_.loss(make_batch(*alone_.model, rank, input)).backward();
    const auto parameters = alone_.model->parameters();
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      const torch::Tensor& gradient = parameters[p].grad();
      if (rank == 0) {
        expected.average.push_back(gradient.clone());
        if (settings_.tolerance > 0) expected.magnitude.push_back(gradient.abs());
      } else {
        expected.average[p].add_(gradient);
        if (settings_.tolerance > 0) expected.magnitude[p].add_(gradient.abs());
      }
    }
  }
  for (torch::Tensor& average : expected.average) average.div_(settings_.ranks);
  for (torch::Tensor& magnitude : expected.magnitude) magnitude.div_(settings_.ranks);
  return expected;
}

void StepBench::step(Trainee& trainee, Times& times) {
  const bool averaged = &trainee == &together_;
  const int input = steps_++ % kInputs;
  averaging_.meet();
  const auto begin = Clock::now();
  trainee.optimizer.zero_grad();
  const torch::Tensor loss = trainee.loss(inputs_[static_cast<std::size_t>(input)]);
  const auto forwarded = Clock::now();
  if (averaged) averaging_.before_backward(loss);
  loss.backward();
  if (averaged) averaging_.after_backward();
  const auto backwarded = Clock::now();
  trainee.optimizer.step();
  const auto end = Clock::now();
  times.step.push_back(us(begin, end));
  times.forward.push_back(us(begin, forwarded));
  times.backward.push_back(us(forwarded, backwarded));
  times.optimizer.push_back(us(backwarded, end));
  if (averaged) verify(input);
}

torch::Tensor StepBench::is_right(const Expected& expected, std::size_t p, const torch::Tensor& gradient) const {
  if (settings_.tolerance <= 0) return gradient.eq(expected.average[p]);
  return gradient.sub(expected.average[p])
      .abs_()
      .le(expected.magnitude[p].mul(settings_.tolerance).add_(kSmallestNormal));
}

void StepBench::verify(int input) const {
  const Expected& expected = expected_[static_cast<std::size_t>(input)];
  std::size_t p = 0;
  for (const auto& parameter : together_.model->named_parameters()) {
    const torch::Tensor& gradient = parameter.value().grad();
    if (!gradient.defined()) throw Error(Errc::kInternal, "no gradient of \"" + parameter.key() + "\"");
    const torch::Tensor right = is_right(expected, p, gradient);
    if (!right.all().item<bool>()) {
      const auto at = right.flatten().logical_not().nonzero()[0].item<std::int64_t>();
      std::ostringstream text;
      text << "rank " << settings_.rank << ": element " << at << " of the gradient of \"" << parameter.key() << "\" is "
           << gradient.flatten()[at].item<float>() << ", expected " << expected.average[p].flatten()[at].item<float>();
      throw Error(Errc::kInternal, text.str());
    }
    ++p;
  }
}

Measurement StepBench::run() {
  Times warm_up, together, alone;
  for (int i = 0; i < kWarmUps; ++i) step(together_, warm_up);
  for (int i = 0; i < kWarmUps; ++i) step(alone_, warm_up);
  const int rounds = settings_.rounds > 0 ? settings_.rounds : kDefaultRounds;
  for (int done = 0; done < rounds; done += kBlock) {
    for (int i = done; i < std::min(done + kBlock, rounds); ++i) step(together_, together);
    for (int i = done; i < std::min(done + kBlock, rounds); ++i) step(alone_, alone);
  }

  Measurement result;
  result.bench = "step";
  result.model = settings_.model;
  result.ranks = settings_.ranks;
  for (const torch::Tensor& parameter : together_.model->parameters()) result.bytes += parameter.nbytes();
  result.us = summarize(averaging_.collect(together.step));
  const double alone_us = median(alone.step);
  result.exposed_us = result.us.p50 - alone_us;
  result.more = {{"alone_us", alone_us},
                 {"forward_us", median(together.forward)},
                 {"backward_us", median(together.backward)},
                 {"optimizer_us", median(together.optimizer)},
                 {"alone_forward_us", median(alone.forward)},
                 {"alone_optimizer_us", median(alone.optimizer)},
                 {"rounds", rounds}};
  return result;
}

}  // namespace

Measurement measure_step(Averaging& averaging, const StepSettings& settings) {
  return StepBench(averaging, settings).run();
}

}  // namespace tutti::bench
