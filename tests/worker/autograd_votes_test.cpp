// SPDX-License-Identifier: Apache-2.0
// What the ranks decide together at the end of a backward.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/worker/autograd_fixture.h"
#include "tutti/error.h"

namespace tutti::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// What the peer, rank 1, says; it has what we have.
struct VotingPeer {
  float operator()(std::uint32_t bucket, std::size_t element, float ours) const {
    if (bucket != kVotes || element < kParameters) return ours;
    std::vector<double> place(votes_in(2));
    cast(*ballot, 1, place);
    return static_cast<float>(place[element - kParameters]);
  }
  const Ballot* ballot;
  static constexpr std::size_t kParameters = 6;
  static constexpr std::uint32_t kVotes = 5;  // after the gradients' buckets
};

TEST_F(AutogradTest, AGradientThatIsNotFiniteMakesAllUndefined) {
  Ballot ballot;
  FakeExchange exchange(VotingPeer{&ballot});
  reducer_ = make(*net_, exchange);
  ASSERT_EQ(exchange.plan().buckets.size(), VotingPeer::kVotes + 1);
  const double infinity = std::numeric_limits<double>::infinity();
  const auto parameters = net_->parameters();
  torch::optim::SGD optimizer(parameters, torch::optim::SGDOptions(0.1).momentum(0.9).weight_decay(0.1));
  (loss() * infinity).backward();
  for (const Tensor& parameter : parameters) EXPECT_FALSE(parameter.grad().defined());
  const Tensor before = parameters[0].detach().clone();
  optimizer.step();
  EXPECT_TRUE(torch::equal(parameters[0], before));
  EXPECT_TRUE(optimizer.state().empty());
  loss().backward();
  for (const Tensor& parameter : parameters) EXPECT_TRUE(parameter.grad().defined());
}

TEST_F(AutogradTest, SoDoesOneOfAnotherRank) {
  Ballot ballot;
  FakeExchange exchange(VotingPeer{&ballot});
  reducer_ = make(*net_, exchange);
  ballot.not_finite = 2;
  for (int step = 0; step < 2; ++step) {
    loss().backward();
    for (const Tensor& parameter : net_->parameters()) EXPECT_FALSE(parameter.grad().defined());
  }
  try {
    loss().backward();
    FAIL() << "the third in a row";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("step 2: rank 1's gradient of parameter \"second.weight\" is not finite"));
  }
}

TEST_F(AutogradTest, AStepThatIsLeftOutLeavesBuffersAsTheyWere) {
  torch::nn::Sequential model(torch::nn::Linear(6, 4), torch::nn::BatchNorm1d(4));
  FakeExchange exchange;
  auto reducer = make(*model, exchange);
  const auto mean = [&] { return model->named_buffers()["1.running_mean"].clone(); };
  for (const std::uint64_t step : {0, 1}) {
    reducer->begin_step(step);
    model->forward(x_).pow(2).sum().backward();
  }
  const Tensor before = mean();
  reducer->begin_step(2);
  const Tensor loss = model->forward(x_ * std::numeric_limits<float>::quiet_NaN()).pow(2).sum();
  EXPECT_FALSE(torch::equal(mean(), before));
  // The peer's ballot is a copy of ours, with another parameter: what counts is that there is one.
  loss.backward();
  EXPECT_TRUE(torch::equal(mean(), before));
}

TEST_F(AutogradTest, NanIsNotLookedForWhereItIsIgnored) {
  nan_policy_ = NanPolicy::kIgnore;
  wrap();
  (loss() * std::numeric_limits<double>::quiet_NaN()).backward();
  for (const Tensor& parameter : net_->parameters()) EXPECT_TRUE(parameter.grad().isnan().any().item<bool>());
}

TEST_F(AutogradTest, ARankThatIsDoneContributesNothingAndHearsWhoElseIs) {
  Ballot ballot;
  std::vector<float> contributed;
  FakeExchange exchange([&](std::uint32_t bucket, std::size_t element, float ours) {
    if (bucket < VotingPeer::kVotes) contributed.push_back(ours);
    if (bucket == VotingPeer::kVotes && element < VotingPeer::kParameters) return 1.0f;
    return VotingPeer{&ballot}(bucket, element, ours);
  });
  reducer_ = make(*net_, exchange);
  loss().backward();
  contributed.clear();
  auto outcome = reducer_->take_part(clock_.now());
  ASSERT_TRUE(outcome);
  EXPECT_THAT(outcome->done, ElementsAre(0));
  EXPECT_EQ(reducer_->last_at_work(), 1);
  std::int64_t elements = 0;
  for (const Tensor& parameter : net_->parameters()) elements += parameter.numel();
  EXPECT_EQ(std::ranges::count_if(contributed, [](float number) { return std::signbit(number); }), elements);
  for (const float number : contributed) EXPECT_EQ(number, 0);  // between gradients there is padding
  for (const Tensor& parameter : net_->parameters()) EXPECT_FALSE(parameter.grad().defined());
  ballot.done = true;
  outcome = reducer_->take_part(clock_.now());
  ASSERT_TRUE(outcome);
  EXPECT_THAT(outcome->done, ElementsAre(0, 1));
  EXPECT_EQ(reducer_->last_at_work(), 1) << "the one that was at work before";
}

TEST_F(AutogradTest, OneRankThatIsAskedToStopIsHeardByAll) {
  Ballot ballot;
  FakeExchange exchange(VotingPeer{&ballot});
  std::vector<bool> stops;
  decided_ = [&](const Outcome& outcome) { stops.push_back(outcome.wishes.stop); };
  reducer_ = make(*net_, exchange);
  loss().backward();
  ballot.wishes.stop = true;
  loss().backward();
  EXPECT_THAT(stops, ElementsAre(false, true));
}

TEST_F(AutogradTest, WhatTheExchangeFindsMakesAllUndefined) {
  exchange_.looks_for_nan = true;
  wrap();
  EXPECT_TRUE(exchange_.plan().looks_for_nan);
  loss().backward();
  EXPECT_TRUE(net_->first->weight.grad().defined());
  const std::uint32_t bucket = 0;
  exchange_.found = {{.rank = 1, .bucket = bucket, .element = 0}};
  loss().backward();
  EXPECT_FALSE(net_->first->weight.grad().defined());
  exchange_.found = {{.rank = std::nullopt, .bucket = bucket, .element = 0}};
  loss().backward();
  EXPECT_FALSE(net_->first->weight.grad().defined());
  try {
    loss().backward();
    FAIL() << "the third in a row";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("the sum of the ranks' gradients of parameter \"third."));
  }
}

TEST_F(AutogradTest, WhereTheExchangeLooksNobodyElseDoes) {
  exchange_.looks_for_nan = true;
  wrap();
  (loss() * std::numeric_limits<double>::quiet_NaN()).backward();
  EXPECT_TRUE(net_->first->weight.grad().defined());
  nan_policy_ = NanPolicy::kIgnore;
  reducer_.reset();
  wrap();
  EXPECT_FALSE(exchange_.plan().looks_for_nan);
}

}  // namespace
}  // namespace tutti::worker
