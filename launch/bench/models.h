// SPDX-License-Identifier: Apache-2.0
// The two models that are trained to measure steps, and their synthetic inputs. Thread safety: the training thread.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tutti::bench {

struct Model : torch::nn::Module {
  virtual torch::Tensor forward(torch::Tensor x) = 0;
  virtual std::vector<std::int64_t> input_sizes() const = 0;  ///< of a rank's batch
};

/// 784, six layers of 2048, 10: 22.6 million parameters, most of the time spent in their gradients' bytes. Batch 32.
struct Mlp final : Model {
  Mlp() {
    for (std::size_t i = 0; i + 1 < kWidths.size(); ++i)
      layers.push_back(register_module("fc" + std::to_string(i), torch::nn::Linear(kWidths[i], kWidths[i + 1])));
  }
  torch::Tensor forward(torch::Tensor x) override {
    for (std::size_t i = 0; i + 1 < layers.size(); ++i) x = torch::relu(layers[i](x));
    return layers.back()(x);
  }
  std::vector<std::int64_t> input_sizes() const override { return {32, 784}; }

  inline static const std::vector<std::int64_t> kWidths = {784, 2048, 2048, 2048, 2048, 2048, 2048, 10};
  std::vector<torch::nn::Linear> layers;
};

/// A small convolutional net: 1.2 million parameters, most of the time spent computing. Batch 64.
struct Lenet final : Model {
  torch::nn::Conv2d conv1{register_module("conv1", torch::nn::Conv2d(1, 32, 3))};
  torch::nn::Conv2d conv2{register_module("conv2", torch::nn::Conv2d(32, 64, 3))};
  torch::nn::Linear fc1{register_module("fc1", torch::nn::Linear(9216, 128))};
  torch::nn::Linear fc2{register_module("fc2", torch::nn::Linear(128, 10))};

  torch::Tensor forward(torch::Tensor x) override {
    x = torch::max_pool2d(torch::relu(conv2(torch::relu(conv1(x)))), 2);
    return fc2(torch::relu(fc1(x.flatten(1))));
  }
  std::vector<std::int64_t> input_sizes() const override { return {64, 1, 28, 28}; }
};

/// The same parameters in every process.
inline std::shared_ptr<Model> make_model(const std::string& name) {
  torch::manual_seed(1);
  if (name == "lenet") return std::make_shared<Lenet>();
  return std::make_shared<Mlp>();
}

struct Batch {
  torch::Tensor x, y;
};

/// A model on its way.
struct Trainee {
  std::shared_ptr<Model> model;
  torch::optim::SGD optimizer;

  Trainee(const std::string& name, double learning_rate)
      : model(make_model(name)), optimizer(model->parameters(), torch::optim::SGDOptions(learning_rate)) {}
  torch::Tensor loss(const Batch& batch) { return torch::cross_entropy_loss(model->forward(batch.x), batch.y); }
  void step(const Batch& batch) {
    optimizer.zero_grad();
    loss(batch).backward();
    optimizer.step();
  }
};

/// The `number`th input of a rank.
inline Batch make_batch(const Model& model, int rank, int number) {
  torch::manual_seed(static_cast<std::uint64_t>(1000 * (number + 1) + rank));
  const auto sizes = model.input_sizes();
  return {torch::rand(sizes), torch::randint(10, {sizes[0]}, torch::kInt64)};
}

}  // namespace tutti::bench
