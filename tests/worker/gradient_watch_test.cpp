// SPDX-License-Identifier: Apache-2.0
#include "worker/gradient_watch.h"

#include <cmath>
#include <limits>

#include "tests/worker/autograd_fixture.h"

namespace tutti::worker {
namespace {

using ::testing::DoubleNear;
using ::testing::Optional;

constexpr GradientQuestions kNorm{.norm = true, .distributions = false};
constexpr GradientQuestions kDistributions{.norm = false, .distributions = true};

/// As LibTorch has it.
double norm_of(const std::vector<Tensor>& tensors) {
  Tensor squares = torch::zeros({}, torch::kFloat64);
  for (const Tensor& tensor : tensors) squares += tensor.to(torch::kFloat64).square().sum();
  return squares.sqrt().item<double>();
}

class GradientWatchTest : public AutogradTest {
 protected:
  /// Nothing is exchanged: it follows backwards by itself.
  GradientWatch alone(torch::nn::Module& module) { return {named(module.named_parameters()), true}; }
  std::optional<double> norm(GradientWatch& watch) {
    const auto numbers = watch.take();
    return numbers ? numbers->norm : std::nullopt;
  }
  double plain_norm() {
    return norm_of(plain_gradients([this](Net& net) { return net->forward(x_).pow(2).sum(); }));
  }
  bool has_hooks() const {
    for (const Tensor& parameter : net_->parameters()) {
      if (torch::autograd::impl::post_acc_grad_hooks(parameter)) return true;
    }
    return false;
  }
};

TEST_F(GradientWatchTest, HasTheNormThatLibTorchHas) {
  GradientWatch watch = alone(*net_);
  watch.begin(kNorm);
  loss().backward();
  EXPECT_THAT(norm(watch), Optional(DoubleNear(plain_norm(), 1e-13 * plain_norm())));
}

TEST_F(GradientWatchTest, DoesNotSeeWhatBecomesOfThemAfterwards) {
  for (const bool set_to_none : {true, false}) {
    GradientWatch watch = alone(*net_);
    watch.begin(kNorm);
    loss().backward();
    net_->zero_grad(set_to_none);
    EXPECT_THAT(norm(watch), Optional(DoubleNear(plain_norm(), 1e-13 * plain_norm())));
  }
}

TEST_F(GradientWatchTest, SeesWhatAllBackwardsOfAStepAddUpTo) {
  GradientWatch watch = alone(*net_);
  loss().backward();
  watch.begin(kNorm);
  loss().backward();
  EXPECT_THAT(norm(watch), Optional(DoubleNear(2 * plain_norm(), 1e-6 * plain_norm())));
}

TEST_F(GradientWatchTest, LeavesAStepAloneOfWhichNothingIsAsked) {
  GradientWatch watch = alone(*net_);
  watch.begin({});
  EXPECT_FALSE(has_hooks());
  loss().backward();
  EXPECT_FALSE(watch.take());
  watch.begin(kNorm);
  EXPECT_TRUE(has_hooks());
  EXPECT_FALSE(watch.take()) << "no backward came";
  EXPECT_FALSE(has_hooks());
  loss().backward();
  EXPECT_FALSE(watch.take());
}

TEST_F(GradientWatchTest, HasNothingToTellOfABackwardThatFailed) {
  GradientWatch watch = alone(*net_);
  watch.begin(kNorm);
  Tensor torn = net_->first->weight * 1;
  torn.register_hook([](const Tensor&) { throw std::runtime_error("torn"); });
  EXPECT_THROW((loss() + torn.sum()).backward(), std::runtime_error);
  EXPECT_FALSE(watch.take());
  net_->zero_grad();
  watch.begin(kNorm);
  loss().backward();
  EXPECT_THAT(norm(watch), Optional(DoubleNear(plain_norm(), 1e-13 * plain_norm())));
}

TEST_F(GradientWatchTest, MayGoWhileABackwardIsUnderWay) {
  auto watch = std::make_unique<GradientWatch>(named(net_->named_parameters()), true);
  watch->begin(kNorm);
  const Tensor x = x_.clone().requires_grad_();  // its gradient comes last
  x.register_hook([&](const Tensor&) { watch.reset(); });
  net_->forward(x).pow(2).sum().backward();
  EXPECT_EQ(watch, nullptr);
  EXPECT_FALSE(has_hooks());
}

TEST_F(GradientWatchTest, LeavesHooksOfTheProgramInPlace) {
  class Own final : public torch::autograd::PostAccumulateGradHook {
   public:
    explicit Own(int& calls) : calls_(calls) {}
    void operator()(const Tensor&) override { ++calls_; }

   private:
    int& calls_;
  };
  int calls = 0;
  torch::autograd::impl::set_post_acc_grad_hooks(net_->first->weight, std::make_unique<Own>(calls));
  GradientWatch watch = alone(*net_);
  for (int step = 1; step <= 2; ++step) {
    net_->zero_grad();
    watch.begin(kNorm);
    loss().backward();
    EXPECT_THAT(norm(watch), Optional(DoubleNear(plain_norm(), 1e-13 * plain_norm())));
    EXPECT_EQ(calls, step);
  }
}

TEST_F(GradientWatchTest, ReadsWhatTheExchangeMadeOfThem) {
  GradientWatch watch(named(net_->named_parameters()), false);
  exchanged_ = [&] { watch.read(); };
  FakeExchange exchange([](std::uint32_t, std::size_t, float ours) { return 3 * ours; });
  reducer_ = make(*net_, exchange);
  watch.begin(kNorm);
  loss().backward();
  EXPECT_THAT(norm(watch), Optional(DoubleNear(2 * plain_norm(), 1e-6 * plain_norm())));
}

TEST_F(GradientWatchTest, HasNothingToTellOfAStepThatIsLeftOut) {
  GradientWatch watch(named(net_->named_parameters()), false);
  exchanged_ = [&] { watch.read(); };
  wrap();
  watch.begin(kNorm);
  loss().backward();
  (loss() * std::numeric_limits<double>::quiet_NaN()).backward();
  ASSERT_FALSE(net_->first->weight.grad().defined());
  EXPECT_FALSE(watch.take()) << "what the first backward left is gone";
}

TEST_F(GradientWatchTest, CountsEveryNumberOfEveryGradient) {
  GradientWatch watch = alone(*net_);
  watch.begin(kDistributions);
  (net_->third->weight.sum() + net_->second->bias.pow(2).sum()).backward();
  const auto numbers = watch.take();
  ASSERT_TRUE(numbers);
  EXPECT_FALSE(numbers->norm);
  ASSERT_EQ(numbers->distributions.size(), 2u) << "those without a gradient have none";
  const auto& [bias, bent] = numbers->distributions[0];
  EXPECT_EQ(bias, "second.bias");
  EXPECT_EQ(bent.finite, 4u);
  EXPECT_EQ(bent.min, net_->second->bias.grad().min().item<float>());
  const auto& [weight, even] = numbers->distributions[1];
  EXPECT_EQ(weight, "third.weight");
  EXPECT_THAT(even.limits, ::testing::ElementsAre(1));
  EXPECT_THAT(even.counts, ::testing::ElementsAre(12));
}

/// The norm and the distribution of one gradient.
GradientNumbers numbers_of(const Tensor& parameter, const Tensor& gradient) {
  parameter.mutable_grad() = gradient;
  GradientWatch watch({{"p", parameter}}, false);
  watch.begin({.norm = true, .distributions = true});
  watch.read();
  return watch.take().value();
}

TEST_F(GradientWatchTest, ReadsGradientsOfAnyKind) {
  const Tensor whole = torch::randn({6, 8});
  for (const auto kind : {torch::kFloat32, torch::kFloat64, torch::kBFloat16, torch::kHalf}) {
    const Tensor gradient = whole.to(kind);
    const GradientNumbers numbers = numbers_of(torch::zeros({6, 8}, kind).requires_grad_(), gradient);
    EXPECT_NEAR(*numbers.norm, norm_of({gradient}), 1e-13 * *numbers.norm) << kind;
    EXPECT_EQ(numbers.distributions[0].second.finite, 48u) << kind;
  }
  const Tensor transposed = whole.t();
  EXPECT_NEAR(*numbers_of(torch::zeros({8, 6}).requires_grad_(), transposed).norm, norm_of({whole}), 1e-12);
  const Tensor strided = torch::randn({6, 16}).slice(1, 0, 16, 2);
  EXPECT_NEAR(*numbers_of(torch::zeros({6, 8}).requires_grad_(), strided).norm, norm_of({strided}), 1e-12);
  const Tensor complex = torch::complex(whole, whole);
  EXPECT_NEAR(*numbers_of(torch::zeros({6, 8}, torch::kComplexFloat).requires_grad_(), complex).norm,
              norm_of({whole, whole}), 1e-12);
  EXPECT_EQ(numbers_of(torch::zeros({0}).requires_grad_(), torch::zeros({0})).norm, 0);
}

TEST_F(GradientWatchTest, AddsUpWhatASparseGradientHasTwice) {
  const Tensor indices = torch::tensor({1, 4, 1}).view({1, 3});
  const Tensor gradient = torch::sparse_coo_tensor(indices, torch::tensor({3.0f, 12.0f, 2.0f}), {10});
  const GradientNumbers numbers = numbers_of(torch::zeros({10}).requires_grad_(), gradient);
  EXPECT_EQ(numbers.norm, 13);
  const Distribution& distribution = numbers.distributions[0].second;
  EXPECT_EQ(distribution.finite, 10u);
  EXPECT_EQ(distribution.counts.front(), 8u);
  EXPECT_EQ(distribution.max, 12);
}

}  // namespace
}  // namespace tutti::worker
