// SPDX-License-Identifier: Apache-2.0
// A model with everything that makes data-parallel training inexact: convolutions, BatchNorm, dropout, a shared
// embedding, parameters unused on one rank and on all, float64 parts, odd sizes. And variants of it that do not fit the
// others'.
#pragma once

#include <torch/torch.h>

#include <string>

struct ExactingImpl : torch::nn::Module {
  /// `variant`: "", or one of missing, extra, renamed, reordered, dtype, shape.
  explicit ExactingImpl(const std::string& variant) {
    const std::int64_t hidden = variant == "shape" ? 14 : 13;
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 5, 3)));
    norm = register_module("norm", torch::nn::BatchNorm2d(5));
    embedding = register_module("embedding", torch::nn::Embedding(11, 7));
    first = torch::nn::Linear(5 * 5 * 5 + 14, hidden);
    second = torch::nn::Linear(hidden, 3);
    if (variant == "reordered") register_module("second", second);
    register_module(variant == "renamed" ? "initial" : "first", first);
    if (variant != "reordered") register_module("second", second);
    wide = register_module("wide", torch::nn::Linear(3, 2));
    wide->to(variant == "dtype" ? torch::kFloat32 : torch::kFloat64);
    if (variant != "missing") sometimes = register_parameter("sometimes", torch::randn({3, 1}));
    never = register_parameter("never", torch::randn({9}));
    if (variant == "extra") register_parameter("surplus", torch::randn({2}));
  }

  /// `rank` 1 leaves `sometimes` out.
  torch::Tensor forward(const torch::Tensor& images, const torch::Tensor& words, int rank) {
    const torch::Tensor seen = torch::dropout(torch::relu(norm(conv(images))), 0.2, is_training()).flatten(1);
    const torch::Tensor read = torch::cat({embedding(words.select(1, 0)), embedding(words.select(1, 1))}, 1);
    torch::Tensor out = second(torch::tanh(first(torch::cat({seen, read}, 1))));
    if (rank != 1) out = out * sometimes.view({1, 3});
    return wide(out.to(torch::kFloat64));
  }

  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d norm{nullptr};
  torch::nn::Embedding embedding{nullptr};
  torch::nn::Linear first{nullptr}, second{nullptr}, wide{nullptr};
  torch::Tensor sometimes, never;
};
TORCH_MODULE(Exacting);

/// Samples that are functions of their index: 7x7 images, two words, two numbers to hit.
class Samples
    : public torch::data::datasets::BatchDataset<Samples, torch::data::Example<torch::Tensor, torch::Tensor>> {
 public:
  explicit Samples(std::size_t size) : size_(size) {}
  torch::data::Example<> get_batch(torch::ArrayRef<std::size_t> indices) override {
    const torch::Tensor which =
        torch::tensor(std::vector<std::int64_t>(indices.begin(), indices.end())).to(torch::kFloat64);
    const torch::Tensor phases = torch::arange(1, 50, torch::kFloat64);
    return {torch::sin(which.unsqueeze(1) * phases).view({-1, 1, 7, 7}).to(torch::kFloat32), which};
  }
  std::optional<std::size_t> size() const override { return size_; }

 private:
  std::size_t size_;
};

inline torch::Tensor loss_of(Exacting& model, const torch::data::Example<>& batch, int rank) {
  const torch::Tensor& which = batch.target;
  const torch::Tensor words =
      torch::stack({which.remainder(11), which.floor_divide(3).remainder(11)}, 1).to(torch::kInt64);
  const torch::Tensor wanted = torch::stack({torch::cos(which), torch::sin(3 * which)}, 1);
  return torch::mse_loss(model->forward(batch.data, words, rank), wanted);
}
