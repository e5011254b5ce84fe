// SPDX-License-Identifier: Apache-2.0
// What LibTorch's autograd does to gradients that live in buckets, case by case.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "tests/worker/fake_exchange.h"
#include "tutti/error.h"
#include "worker/backward_scope.h"
#include "worker/reducer.h"

namespace tutti::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using torch::Tensor;

struct NetImpl : torch::nn::Module {
  torch::nn::Linear first{register_module("first", torch::nn::Linear(6, 5))};
  torch::nn::Linear second{register_module("second", torch::nn::Linear(5, 4))};
  torch::nn::Linear third{register_module("third", torch::nn::Linear(4, 3))};
  Tensor forward(const Tensor& x) { return third(torch::tanh(second(torch::tanh(first(x))))); }
};
TORCH_MODULE(Net);

/// Computes `f` without a graph, and again with one inside the enclosing backward.
struct Checkpointed : torch::autograd::Function<Checkpointed> {
  using F = std::function<Tensor(const Tensor&)>;
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x, const F* f) {
    context->save_for_backward({x});
    context->saved_data["f"] = reinterpret_cast<std::int64_t>(f);
    const torch::NoGradGuard no_grad;
    return (*f)(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto& f = *reinterpret_cast<const F*>(context->saved_data["f"].toInt());
    const Tensor x = context->get_saved_variables()[0].detach().requires_grad_();
    {
      const torch::AutoGradMode with_graph(true);
      torch::autograd::backward({f(x)}, {gradients[0]});
    }
    return {x.grad(), Tensor()};
  }
};

/// A node that throws when backward comes to it.
struct Throwing : torch::autograd::Function<Throwing> {
  static Tensor forward(torch::autograd::AutogradContext*, const Tensor& x) { return x.clone(); }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*, torch::autograd::variable_list) {
    throw std::runtime_error("the user's own");
  }
};

std::vector<NamedTensor> named(const torch::OrderedDict<std::string, Tensor>& dict) {
  std::vector<NamedTensor> result;
  for (const auto& item : dict) result.push_back({item.key(), item.value()});
  return result;
}

class AutogradTest : public ::testing::Test {
 protected:
  AutogradTest()
      : scope_({[this] { return clock_.now(); }, [this] { ++finished_; }, [this] { torn_ = true; },
                [](const Failure& failure) { raise(failure); }}) {
    torch::manual_seed(1);
    net_ = Net();
    x_ = torch::randn({7, 6});
  }
  void wrap(bool overlap = true) { reducer_ = make(*net_, exchange_, 0, overlap); }
  std::unique_ptr<Reducer> make(torch::nn::Module& module, Exchange& exchange, std::uint32_t object = 0,
                                bool overlap = true) {
    ReducerOptions options;
    options.object = object;
    options.world_size = 2;
    options.limits = {64, 64};  // a bucket for nearly every parameter
    options.overlap = overlap;
    options.agree_on_order = agree_;
    options.born_in_place = born_in_place_;
    options.nan_policy = nan_policy_;
    options.decided = decided_;
    auto reducer = std::make_unique<Reducer>(named(module.named_parameters()), named(module.named_buffers()), exchange,
                                             scope_, options, events_, clock_, Logger::none());
    EXPECT_TRUE(reducer->open(clock_.now()));
    return reducer;
  }
  Tensor loss() { return net_->forward(x_).pow(2).sum(); }
  /// The gradients a model of the same parameters has without tutti.
  std::vector<Tensor> plain_gradients(const std::function<Tensor(Net&)>& loss_of) {
    Net copy;
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < copy->parameters().size(); ++i) copy->parameters()[i].copy_(net_->parameters()[i]);
    {
      const torch::AutoGradMode with_graph(true);
      loss_of(copy).backward();
    }
    std::vector<Tensor> gradients;
    for (const Tensor& parameter : copy->parameters()) gradients.push_back(parameter.grad());
    return gradients;
  }
  void expect_gradients(const std::vector<Tensor>& expected) {
    const auto parameters = net_->named_parameters();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(parameters[i].value().grad().defined(), expected[i].defined()) << parameters[i].key();
      if (!expected[i].defined()) continue;
      EXPECT_TRUE(torch::equal(parameters[i].value().grad(), expected[i])) << parameters[i].key();
    }
  }

  SteadyClock clock_;
  EventBuffer events_{1000};
  int finished_ = 0;
  bool torn_ = false;
  BackwardScope scope_;
  FakeExchange exchange_;
  Net net_{nullptr};
  Tensor x_;
  AgreeOnOrder agree_;
  bool born_in_place_ = false;
  NanPolicy nan_policy_ = NanPolicy::kSkip;
  std::function<void(const Outcome&)> decided_;
  std::unique_ptr<Reducer> reducer_;
};

TEST_F(AutogradTest, GradientsShareTheBucketAfterEitherFormOfZeroGrad) {
  torch::optim::SGD optimizer(net_->parameters(), 0.1);
  wrap();
  const auto expected = plain_gradients([this](Net& net) { return net->forward(x_).pow(2).sum(); });
  for (const bool set_to_none : {true, false, true}) {
    optimizer.zero_grad(set_to_none);
    loss().backward();
    expect_gradients(expected);
    net_->zero_grad(set_to_none);
    loss().backward();
    expect_gradients(expected);
    const auto* begin = exchange_.plan().memory[0];
    const auto* end = begin + exchange_.plan().buckets[0].bytes();
    const auto* gradient = static_cast<const std::byte*>(net_->third->bias.grad().data_ptr());
    EXPECT_TRUE(gradient >= begin && gradient < end);
  }
  optimizer.step();
  EXPECT_NO_THROW(torch::nn::utils::clip_grad_norm_(net_->parameters(), 1.0));
}

TEST_F(AutogradTest, BucketsLieWhereTheExchangeHasMemoryForThem) {
  exchange_.has_memory = true;
  wrap();
  loss().backward();
  ASSERT_FALSE(exchange_.places.empty());
  for (std::size_t b = 0; b < exchange_.places.size(); ++b) {
    EXPECT_EQ(exchange_.plan().memory[b], exchange_.places[b].get()) << b;
  }
  EXPECT_EQ(net_->third->bias.grad().data_ptr(), static_cast<void*>(exchange_.places[0].get()));
  // A gradient that outlives the wrapper keeps its memory.
  const Tensor gradient = net_->third->bias.grad(), copy = gradient.clone();
  reducer_.reset();
  exchange_.places.clear();
  EXPECT_TRUE(torch::equal(gradient, copy));
}

struct WideImpl : torch::nn::Module {
  torch::nn::Linear only{register_module("only", torch::nn::Linear(torch::nn::LinearOptions(300, 256).bias(false)))};
  torch::nn::Linear last{register_module("last", torch::nn::Linear(256, 1))};
  Tensor forward(const Tensor& x) { return last(torch::tanh(only(x))); }
};
TORCH_MODULE(Wide);

/// A gradient that is born where the exchange has memory beside the buckets: 300 KiB, above what is worth it.
class BornInPlace : public AutogradTest {
 protected:
  BornInPlace() {
    exchange_.has_memory = true;
    born_in_place_ = true;
    x_ = torch::randn({7, 300});
    reducer_ = make(*wide_, exchange_);
  }
  Tensor& weight() { return wide_->only->weight; }
  bool is_born() { return exchange_.births.size() == 1 && weight().grad().data_ptr() == exchange_.births[0].get(); }
  Tensor bucket() { return torch::from_blob(place(), {256, 300}); }
  /// Of the weight in its bucket.
  void* place() {
    const BucketRange& range = exchange_.placed_ranges[0];
    return exchange_.places[range.bucket].get() + range.offset_bytes;
  }

  Wide wide_;
};

TEST_F(BornInPlace, TheGradientIsNotCopied) {
  for (const bool set_to_none : {true, true, false, true}) {
    wide_->zero_grad(set_to_none);
    wide_->forward(x_).pow(2).sum().backward();
    EXPECT_TRUE(is_born());
    EXPECT_EQ(exchange_.where[0], exchange_.births[0].get());
    EXPECT_EQ(bucket().abs().sum().item<float>(), 0.0f) << "something was copied into the bucket";
  }
}

TEST_F(BornInPlace, AnAccumulatedGradientStaysWhereItIs) {
  wide_->forward(x_).pow(2).sum().backward();
  const Tensor once = weight().grad().clone();
  wide_->forward(x_).pow(2).sum().backward();
  EXPECT_TRUE(is_born());
  EXPECT_TRUE(torch::allclose(weight().grad(), 2 * once));
}

TEST_F(BornInPlace, WhileAnEarlierGradientLivesTheNextIsCopied) {
  wide_->forward(x_).pow(2).sum().backward();
  const Tensor kept = weight().grad(), copy = kept.clone();
  wide_->zero_grad(true);
  wide_->forward(2 * x_).pow(2).sum().backward();
  EXPECT_EQ(weight().grad().data_ptr(), place());
  EXPECT_EQ(static_cast<void*>(exchange_.where[0]), place());
  EXPECT_TRUE(torch::equal(kept, copy)) << "the exchange wrote into a tensor that the program holds";
}

TEST_F(BornInPlace, AGradientThatAGraphHoldsIsCopied) {
  const Tensor loss = wide_->forward(x_).pow(3).sum();
  loss.backward({}, /*retain_graph=*/true, /*create_graph=*/true);
  EXPECT_FALSE(is_born());
  EXPECT_EQ(static_cast<void*>(exchange_.where[0]), place());
}

TEST_F(BornInPlace, WhatTheProgramAllocatesOutsideOfBackwardIsNot) {
  std::vector<Tensor> kept{torch::zeros({256, 300})};
  wide_->forward(x_).pow(2).sum().backward();
  EXPECT_TRUE(is_born());
  wide_->zero_grad(true);
  kept.push_back(torch::zeros({256, 300}));
  for (const Tensor& tensor : kept) EXPECT_NE(tensor.data_ptr(), static_cast<void*>(exchange_.births[0].get()));
}

TEST_F(BornInPlace, MemoryOutlivesTheReducer) {
  wide_->forward(x_).pow(2).sum().backward();
  const Tensor gradient = weight().grad(), copy = gradient.clone();
  reducer_.reset();
  exchange_.births.clear();
  EXPECT_TRUE(torch::equal(gradient, copy));
  EXPECT_NE(torch::zeros({256, 300}).data_ptr(), gradient.data_ptr());
}

TEST_F(AutogradTest, BucketsAreLaidOutAnewOnceByTheOrderInWhichGradientsCame) {
  exchange_.has_memory = true;
  std::vector<std::uint32_t> measured;
  agree_ = [&](std::vector<std::uint32_t> order, Deadline) -> Result<std::vector<std::uint32_t>> {
    measured = order;
    return order;
  };
  wrap();
  const auto run = [this] {
    return net_->first(x_).pow(2).sum() + net_->third(net_->second(torch::ones({1, 5}))).sum();
  };
  const auto expected = plain_gradients([this](Net& net) {
    return net->first(x_).pow(2).sum() + net->third(net->second(torch::ones({1, 5}))).sum();
  });
  run().backward();
  expect_gradients(expected);
  ASSERT_EQ(measured.size(), 6u);
  ASSERT_EQ(exchange_.opens, 2) << "the order that was measured is not the reverse one here";
  EXPECT_EQ(exchange_.plan().number, 1u);
  const auto parameters = net_->parameters();
  EXPECT_EQ(parameters[measured[0]].grad().data_ptr(), static_cast<void*>(exchange_.places[0].get()));

  exchange_.starts.clear();
  net_->zero_grad();
  run().backward();
  expect_gradients(expected);
  EXPECT_EQ(exchange_.opens, 2);
  EXPECT_GT(exchange_.started_at_poll.back(), 0u);
}

TEST_F(AutogradTest, AnOrderThatTheRanksCannotAgreeOnEndsTheBackward) {
  agree_ = [](std::vector<std::uint32_t>, Deadline) -> Result<std::vector<std::uint32_t>> {
    return fail(Errc::kTimeout, "rank 0 told no order");
  };
  wrap();
  EXPECT_THROW(loss().backward(), Timeout);
}

TEST_F(AutogradTest, BucketsStartInOrderWhileBackwardGoesOn) {
  wrap();
  loss().backward();
  std::vector<std::uint32_t> sorted(exchange_.starts.size());
  for (std::uint32_t i = 0; i < sorted.size(); ++i) sorted[i] = i;
  EXPECT_EQ(exchange_.starts, sorted);
  EXPECT_EQ(exchange_.finishes, 1);
  EXPECT_GT(exchange_.started_at_poll[exchange_.started_at_poll.size() / 2], 0u)
      << "nothing was under way in the middle of backward";
}

TEST_F(AutogradTest, WhatIsStartedAwaitedAndDoneIsRecorded) {
  wrap();
  reducer_->begin_step(37);
  loss().backward();
  std::vector<std::uint32_t> started, done;
  std::vector<EventKind> waits;
  for (const Event& event : events_.events()) {
    EXPECT_EQ(event.step, 37u);
    if (event.kind == EventKind::kBucketStarted) started.push_back(event.bucket);
    if (event.kind == EventKind::kBucketDone) done.push_back(event.bucket);
    if (event.kind == EventKind::kWaitBegin || event.kind == EventKind::kWaitEnd) waits.push_back(event.kind);
  }
  EXPECT_EQ(started, exchange_.starts);
  EXPECT_EQ(done, exchange_.starts);
  EXPECT_EQ(waits, (std::vector{EventKind::kWaitBegin, EventKind::kWaitEnd}));
  exchange_.fail_finish = true;
  EXPECT_THROW(loss().backward(), Timeout);
  EXPECT_EQ(events_.events().back().kind, EventKind::kWaitBegin) << "a wait that fails has no end";
}

TEST_F(AutogradTest, AParameterThatNobodyUsedKeepsAnUndefinedGradient) {
  wrap();
  net_->first->forward(x_).pow(2).sum().backward();
  EXPECT_TRUE(net_->first->weight.grad().defined());
  EXPECT_FALSE(net_->second->weight.grad().defined());
  const std::vector<Tensor> before{net_->second->weight.detach().clone()};
  torch::optim::SGD(net_->parameters(), torch::optim::SGDOptions(0.1).weight_decay(0.5)).step();
  EXPECT_TRUE(torch::equal(net_->second->weight, before[0]))
      << "weight decay moves a parameter whose gradient is zeros";
}

TEST_F(AutogradTest, AParameterThatOnlyThePeerUsedGetsThePeersGradient) {
  std::uint32_t presence = 0;
  FakeExchange exchange([&presence](std::uint32_t bucket, std::size_t element, float ours) {
    if (bucket == presence) return element < 6 ? 1.0f : 0.0f;  // the peer used everything
    return ours == 0.0f ? 6.0f : ours;
  });
  reducer_ = make(*net_, exchange);
  presence = static_cast<std::uint32_t>(exchange.plan().buckets.size() - 1);
  net_->first->forward(x_).pow(2).sum().backward();
  ASSERT_TRUE(net_->second->weight.grad().defined());
  EXPECT_TRUE(torch::equal(net_->second->weight.grad(), torch::full({4, 5}, 3.0)));
}

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
  decided_ = [&](const Outcome& outcome) { stops.push_back(outcome.stop); };
  reducer_ = make(*net_, exchange);
  loss().backward();
  ballot.stop = true;
  loss().backward();
  EXPECT_THAT(stops, ElementsAre(false, true));
}

TEST_F(AutogradTest, NegativeZeroIsWhatAMissingGradientContributes) {
  std::vector<float> second_weight;
  FakeExchange exchange([&](std::uint32_t bucket, std::size_t, float ours) {
    if (exchange.plan().buckets[bucket].elements >= 20 &&
        exchange.plan().buckets[bucket].reduction == Reduction::kAverage && second_weight.size() < 20) {
      second_weight.push_back(ours);
    }
    return ours;
  });
  reducer_ = make(*net_->second, exchange);
  (void)net_->second->forward(torch::randn({2, 5}));
  net_->second->bias.sum().backward();
  ASSERT_EQ(second_weight.size(), 20u);
  for (const float value : second_weight) EXPECT_TRUE(value == 0 && std::signbit(value)) << value;
}

TEST_F(AutogradTest, NoSyncAccumulatesAndTheNextBackwardExchangesTheSum) {
  wrap();
  reducer_->set_exchanging(false);
  loss().backward();
  EXPECT_TRUE(exchange_.starts.empty());
  reducer_->set_exchanging(true);
  loss().backward();
  expect_gradients(plain_gradients([this](Net& net) {
    net->forward(x_).pow(2).sum().backward();
    return net->forward(x_).pow(2).sum();
  }));
}

TEST_F(AutogradTest, AGradientFromNoSyncIsSentThoughItsHookDoesNotFireAgain) {
  wrap();
  reducer_->set_exchanging(false);
  loss().backward();
  reducer_->set_exchanging(true);
  net_->third->bias.sum().backward();
  EXPECT_TRUE(net_->first->weight.grad().defined());
  EXPECT_EQ(exchange_.finishes, 1);
}

TEST_F(AutogradTest, CheckpointingTheWholeModelExchangesOnceAtTheTrueEnd) {
  const Checkpointed::F f = [this](const Tensor& x) { return net_->forward(x); };
  const auto expected = plain_gradients([this](Net& net) { return net->forward(x_).pow(2).sum(); });
  wrap();
  Checkpointed::apply(x_.clone().requires_grad_(), &f).pow(2).sum().backward();
  expect_gradients(expected);
  EXPECT_EQ(exchange_.finishes, 1);
}

TEST_F(AutogradTest, CheckpointingThePartNearestTheLossExchangesOnceAtTheTrueEnd) {
  const Checkpointed::F f = [this](const Tensor& x) { return net_->third(torch::tanh(net_->second(x))); };
  const auto expected = plain_gradients([this](Net& net) { return net->forward(x_).pow(2).sum(); });
  wrap();
  Checkpointed::apply(torch::tanh(net_->first(x_)), &f).pow(2).sum().backward();
  expect_gradients(expected);
  EXPECT_EQ(exchange_.finishes, 1);
}

TEST_F(AutogradTest, CheckpointingThePartFarthestFromTheLossExchangesOnceAtTheTrueEnd) {
  const Checkpointed::F f = [this](const Tensor& x) { return torch::tanh(net_->second(torch::tanh(net_->first(x)))); };
  const auto expected = plain_gradients([this](Net& net) { return net->forward(x_).pow(2).sum(); });
  wrap();
  net_->third(Checkpointed::apply(x_.clone().requires_grad_(), &f)).pow(2).sum().backward();
  expect_gradients(expected);
  EXPECT_EQ(exchange_.finishes, 1);
}

TEST_F(AutogradTest, AParameterInsideAndOutsideACheckpointIsExactWithoutOverlapAndAnErrorWithIt) {
  const Checkpointed::F f = [this](const Tensor& x) { return torch::tanh(net_->second(torch::tanh(net_->first(x)))); };
  const auto run = [&] {
    const Tensor inside = Checkpointed::apply(x_.clone().requires_grad_(), &f);
    (net_->third(inside).pow(2).sum() + net_->second->weight.pow(2).sum()).backward();
  };
  const auto expected =
      plain_gradients([this](Net& net) { return net->forward(x_).pow(2).sum() + net->second->weight.pow(2).sum(); });
  wrap(/*overlap=*/false);
  run();
  const auto parameters = net_->parameters();
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(torch::allclose(parameters[i].grad(), expected[i]));
  EXPECT_EQ(exchange_.finishes, 1);

  reducer_.reset();
  net_->zero_grad();
  wrap(/*overlap=*/true);
  try {
    run();
    // Both firings came before the bucket was sent: then the result is right, too.
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(torch::allclose(parameters[i].grad(), expected[i]));
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("second.weight"));
    EXPECT_THAT(error.what(), HasSubstr("overlap(false)"));
  }
}

TEST_F(AutogradTest, AModelWrappedTwiceIsRefused) {
  wrap();
  FakeExchange other;
  try {
    make(*net_, other);
    FAIL() << "the second hook would silently replace the first";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("first.weight"));
  }
  loss().backward();
  EXPECT_EQ(exchange_.finishes, 1) << "the first wrapping goes on";
}

TEST_F(AutogradTest, AModelMovedAfterWrappingIsRefusedUnlessItWasReloadedBeforeTheFirstStep) {
  wrap();
  net_->second->weight.set_data(net_->second->weight.data().clone());
  try {
    loss().backward();
    FAIL() << "the parameter lies in other memory";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("second.weight"));
  }
  reducer_->accept_moved_parameters();
  net_->zero_grad();
  loss().backward();
  EXPECT_THROW(reducer_->accept_moved_parameters(), UsageError);
}

TEST_F(AutogradTest, AnExceptionInTheUsersGraphResetsWhatItHadBegun) {
  wrap();
  // The node that was made first is the last that backward comes to.
  const Tensor x = Throwing::apply(x_.clone().requires_grad_());
  EXPECT_THROW(net_->forward(x).pow(2).sum().backward(), std::runtime_error);
  EXPECT_TRUE(torn_) << "the later layers' buckets were on their way";
  EXPECT_EQ(finished_, 0);

  FakeExchange next;
  reducer_.reset();
  reducer_ = make(*net_, next);
  net_->zero_grad();
  const auto expected = plain_gradients([this](Net& net) { return net->forward(x_).pow(2).sum(); });
  loss().backward();
  expect_gradients(expected);
  EXPECT_EQ(finished_, 1);
}

TEST_F(AutogradTest, AFailedExchangeLeavesBackwardAsItsOwnExceptionAndTheNextBackwardWorks) {
  wrap();
  exchange_.fail_finish = true;
  EXPECT_THROW(loss().backward(), Timeout);
  exchange_.fail_finish = false;
  exchange_.fail_start = true;
  net_->zero_grad();
  EXPECT_THROW(loss().backward(), PeerLost);
  exchange_.fail_start = false;
  net_->zero_grad();
  const auto expected = plain_gradients([this](Net& net) { return net->forward(x_).pow(2).sum(); });
  loss().backward();
  expect_gradients(expected);
  EXPECT_EQ(finished_, 1);
}

TEST_F(AutogradTest, ASecondThreadInsideBackwardIsAnError) {
  wrap();
  std::string refused;
  net_->first->weight.register_hook([&](const Tensor&) {
    // The third layer's hooks have fired by now: this backward is running.
    std::thread([&] {
      try {
        net_->third->bias.sum().backward();
      } catch (const UsageError& error) {
        refused = error.what();
      }
    }).join();
  });
  loss().backward();
  EXPECT_THAT(refused, HasSubstr("two threads"));
  EXPECT_EQ(exchange_.finishes, 1);
}

TEST_F(AutogradTest, AForkedChildsBackwardIsAnError) {
  wrap();
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      loss().backward();
    } catch (const UsageError&) {
      ::_exit(7);
    } catch (...) {
    }
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_F(AutogradTest, SparseGradientsAreExchangedDense) {
  torch::nn::Embedding embedding(torch::nn::EmbeddingOptions(9, 3).sparse(true));
  auto reducer = make(*embedding, exchange_);
  const Tensor which = torch::tensor({1, 4, 4});
  embedding->forward(which).sum().backward();
  Tensor expected = torch::zeros({9, 3});
  expected[1] += 1;
  expected[4] += 2;
  EXPECT_TRUE(torch::equal(embedding->weight.grad(), expected));
}

TEST_F(AutogradTest, GradientsKeepTheStridesOfTheirParameters) {
  torch::nn::Conv2d conv(torch::nn::Conv2dOptions(3, 4, 3));
  {
    const torch::NoGradGuard no_grad;
    conv->weight.set_data(conv->weight.data().contiguous(torch::MemoryFormat::ChannelsLast));
  }
  auto reducer = make(*conv, exchange_);
  conv->forward(torch::randn({2, 3, 8, 8})).pow(2).sum().backward();
  EXPECT_EQ(conv->weight.grad().strides(), conv->weight.strides());
}

TEST_F(AutogradTest, CreateGraphLeavesAGradientInItsBucket) {
  wrap();
  loss().backward({}, /*retain_graph=*/true, /*create_graph=*/true);
  expect_gradients(plain_gradients([this](Net& net) { return net->forward(x_).pow(2).sum(); }));
  EXPECT_FALSE(net_->first->weight.grad().requires_grad());
}

TEST_F(AutogradTest, TwoModelsInOneBackwardExchangeEachInTheirOrder) {
  torch::nn::Linear other(3, 1);
  FakeExchange second;
  auto late = make(*other, second, 1);
  wrap();
  other(net_->forward(x_)).sum().backward();
  EXPECT_EQ(exchange_.finishes, 1);
  EXPECT_EQ(second.finishes, 1);
  EXPECT_EQ(finished_, 1) << "one end of backward for both";
}

TEST_F(AutogradTest, AFrozenDiscriminatorExchangesNothingInTheGeneratorsStep) {
  torch::nn::Linear discriminator(3, 1);
  FakeExchange second;
  auto wrapped = make(*discriminator, second, 1);
  wrap();
  for (Tensor& parameter : discriminator->parameters()) parameter.requires_grad_(false);
  discriminator(net_->forward(x_)).sum().backward();
  EXPECT_EQ(second.finishes, 0);
  EXPECT_EQ(exchange_.finishes, 1);
}

TEST_F(AutogradTest, SeveralDtypesLieInBucketsOfTheirOwn) {
  struct Mixed : torch::nn::Module {
    Tensor a = register_parameter("a", torch::randn({5})),
           b = register_parameter("b", torch::randn({3}).to(torch::kFloat64));
  } mixed;
  auto reducer = make(mixed, exchange_);
  (mixed.a.sum().to(torch::kFloat64) * 2 + mixed.b.pow(2).sum()).backward();
  EXPECT_TRUE(torch::equal(mixed.a.grad(), torch::full({5}, 2.0f)));
  EXPECT_TRUE(torch::equal(mixed.b.grad(), 2 * mixed.b.detach()));
}

TEST_F(AutogradTest, ExchangesOfAStepAreCountedFromZero) {
  wrap();
  reducer_->begin_step(4);
  loss().backward();
  net_->zero_grad();
  loss().backward();
  EXPECT_EQ(exchange_.ids.front().step, 4u);
  EXPECT_EQ(exchange_.ids.front().index, 0);
  EXPECT_EQ(exchange_.ids.back().step, 4u);
  EXPECT_EQ(exchange_.ids.back().index, 1);
}

}  // namespace
}  // namespace tutti::worker
