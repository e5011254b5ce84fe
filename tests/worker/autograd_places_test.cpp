// SPDX-License-Identifier: Apache-2.0
// Where gradients lie: in buckets, in memory of the exchange, where they were born.
#include <torch/torch.h>

#include <memory>
#include <vector>

#include "tests/worker/autograd_fixture.h"
#include "tutti/error.h"

namespace tutti::worker {
namespace {

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

}  // namespace
}  // namespace tutti::worker
