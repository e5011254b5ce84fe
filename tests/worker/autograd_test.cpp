// SPDX-License-Identifier: Apache-2.0
// What LibTorch's autograd does to gradients that live in buckets, case by case.
#include <sys/wait.h>
#include <torch/torch.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "tests/worker/autograd_fixture.h"
#include "tutti/error.h"

namespace tutti::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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
