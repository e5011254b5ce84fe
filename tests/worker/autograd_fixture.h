// SPDX-License-Identifier: Apache-2.0
// A small net whose gradients are exchanged with a made-up peer, for tests of what autograd does to them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/worker/fake_exchange.h"
#include "worker/backward_scope.h"
#include "worker/reducer.h"

namespace tutti::worker {

using torch::Tensor;

struct NetImpl : torch::nn::Module {
  torch::nn::Linear first{register_module("first", torch::nn::Linear(6, 5))};
  torch::nn::Linear second{register_module("second", torch::nn::Linear(5, 4))};
  torch::nn::Linear third{register_module("third", torch::nn::Linear(4, 3))};
  Tensor forward(const Tensor& x) { return third(torch::tanh(second(torch::tanh(first(x))))); }
};
TORCH_MODULE(Net);

inline std::vector<NamedTensor> named(const torch::OrderedDict<std::string, Tensor>& dict) {
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
    options.exchanged = exchanged_;
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
  std::function<void()> exchanged_;
  std::unique_ptr<Reducer> reducer_;
};

}  // namespace tutti::worker
