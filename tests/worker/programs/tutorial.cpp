// SPDX-License-Identifier: Apache-2.0
// Programs in the style of LibTorch's tutorials, with tutti's five lines marked: a plain struct model, a loader with worker threads, a
// loop over epochs of the program's own; and with --gan two models with an optimizer each.
#include <torch/torch.h>
#include <tutti/tutti.h>  // 1

#include <cstdio>
#include <cstring>
#include <string>

namespace {

struct Net : torch::nn::Module {
  Net() { fc1 = register_module("fc1", torch::nn::Linear(4, 16)), fc2 = register_module("fc2", torch::nn::Linear(16, 1)); }
  torch::Tensor forward(torch::Tensor x) { return fc2(torch::dropout(torch::relu(fc1(x)), 0.1, is_training())); }
  torch::nn::Linear fc1{nullptr}, fc2{nullptr};
};

class Waves : public torch::data::Dataset<Waves> {
 public:
  torch::data::Example<> get(std::size_t index) override {
    const torch::Tensor x = torch::sin(torch::arange(1, 5) * static_cast<double>(index)).to(torch::kFloat32);
    return {x, x.sum(0, true)};
  }
  std::optional<std::size_t> size() const override { return 203; }
};

struct Stop {
  std::int64_t at = 0;
  std::string folder;
  bool resume = false;
};

void finish(tutti::Session& session, const std::vector<std::string>& hashes) {
  std::string all;
  for (const std::string& hash : hashes) all += hash;
  for (const std::string& other : session.all_gather(all)) {
    if (other != all) throw tutti::MismatchError("the ranks end with different parameters");
  }
  if (session.rank() == 0) std::printf("hash=%s\n", hashes.back().c_str());
}

void train(tutti::Session& session, const Stop& stop) {
  Net model;
  torch::optim::SGD optimizer(model.parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  torch::optim::StepLR scheduler(optimizer, 1, 0.5);
  tutti::DataParallel parallel(session, model, optimizer);                                  // 3
  parallel.schedule(scheduler);
  if (stop.resume && !parallel.load(stop.folder)) throw tutti::DataError("nothing to resume from");
  auto dataset = Waves().map(torch::data::transforms::Stack<>());
  auto loader = torch::data::make_data_loader(std::move(dataset), parallel.sampler(203),    // 4
                                              torch::data::DataLoaderOptions().batch_size(8).workers(2));
  for (std::int64_t epoch = parallel.epoch(); epoch < 3; ++epoch) {
    for (auto& batch : parallel.consume(*loader)) {                                         // 5
      optimizer.zero_grad();
      const torch::Tensor loss = torch::mse_loss(model.forward(batch.data), batch.target);
      loss.backward();
      optimizer.step();
      if (parallel.steps() != stop.at) continue;
      parallel.save(stop.folder);
      return;
    }
    parallel.step(scheduler);
  }
  finish(session, {parallel.state().model_hash()});
}

void train_gan(tutti::Session& session) {
  torch::nn::Sequential generator(torch::nn::Linear(3, 8), torch::nn::BatchNorm1d(8), torch::nn::ReLU(), torch::nn::Linear(8, 4));
  torch::nn::Sequential discriminator(torch::nn::Linear(4, 8), torch::nn::LeakyReLU(), torch::nn::Linear(8, 1), torch::nn::Sigmoid());
  torch::optim::Adam generator_optimizer(generator->parameters(), 1e-3), discriminator_optimizer(discriminator->parameters(), 1e-3);
  tutti::DataParallel parallel_generator(session, generator, generator_optimizer);
  tutti::DataParallel parallel(session, discriminator, discriminator_optimizer);
  for (auto& batch : parallel.batches(Waves(), 8, 2)) {
    const torch::Tensor& real = batch.data;
    discriminator->zero_grad();
    torch::binary_cross_entropy(discriminator->forward(real), torch::full({8, 1}, 0.9)).backward();
    const torch::Tensor fake = generator->forward(torch::randn({8, 3}));
    torch::binary_cross_entropy(discriminator->forward(fake.detach()), torch::zeros({8, 1})).backward();
    discriminator_optimizer.step();

    generator->zero_grad();
    torch::binary_cross_entropy(discriminator->forward(fake), torch::ones({8, 1})).backward();
    generator_optimizer.step();
  }
  finish(session, {parallel.state().model_hash(), parallel_generator.state().model_hash()});
}

}  // namespace

int main(int argc, char** argv) {
  tutti::Session session(argc, argv);                                                       // 2
  if (argc > 1 && std::strcmp(argv[1], "--gan") == 0) {
    train_gan(session);
    return 0;
  }
  Stop stop;
  if (argc > 3) stop = {std::stoll(argv[2]), argv[3], std::strcmp(argv[1], "--resume") == 0};
  train(session, stop);
}
