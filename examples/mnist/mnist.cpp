// SPDX-License-Identifier: Apache-2.0
// A small CNN on handwritten digits. Alone with --micro-batches 2 it sees what two workers see, and ends in the same
// bits.
#include <torch/torch.h>
#include <tutti/tutti.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "idx.h"

namespace {

struct NetImpl : torch::nn::Module {
  torch::nn::Conv2d conv1{register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 16, 3).padding(1)))};
  torch::nn::Conv2d conv2{register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(16, 32, 3).padding(1)))};
  torch::nn::Dropout dropout{register_module("dropout", torch::nn::Dropout(0.25))};
  torch::nn::Linear fc1{register_module("fc1", torch::nn::Linear(32 * 7 * 7, 128))};
  torch::nn::Linear fc2{register_module("fc2", torch::nn::Linear(128, 10))};

  torch::Tensor forward(torch::Tensor x) {
    x = torch::max_pool2d(torch::relu(conv1(x)), 2);
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);
    x = torch::relu(fc1(dropout(x.flatten(1))));
    return torch::log_softmax(fc2(x), 1);
  }
};
TORCH_MODULE(Net);

struct Arguments {
  std::string data = "data/mnist";
  std::int64_t epochs = 10, batch = 32, micro_batches = 1;
  double lr = 0.003;
};

int parse(Arguments& arguments, int argc, char** argv) {
  CLI::App app("Trains a small CNN on handwritten digits.");
  app.add_option("--data", arguments.data, "folder of MNIST's IDX files")->capture_default_str();
  app.add_option("--epochs", arguments.epochs)->capture_default_str();
  app.add_option("--batch", arguments.batch, "samples of a rank in a backward")->capture_default_str();
  app.add_option("--micro-batches", arguments.micro_batches, "backwards in an optimizer step")->capture_default_str();
  app.add_option("--lr", arguments.lr)->capture_default_str();
  try {
    app.parse(argc, argv);
    return -1;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 64;
  }
}

/// The batch moved by up to two pixels each way: a digit is the same digit elsewhere. Drawn from the numbers of this
/// step and rank.
torch::Tensor shifted(const torch::Tensor& images) {
  const torch::Tensor by = torch::randint(-2, 3, {2});
  return images.roll({by[0].item<std::int64_t>(), by[1].item<std::int64_t>()}, {2, 3});
}

double accuracy_of(Net& net, const Digits& digits, torch::Device device) {
  const torch::NoGradGuard no_grad;
  net->eval();
  const torch::Tensor guessed = net(digits.images().to(device)).argmax(1).cpu();
  net->train();
  return guessed.eq(digits.labels()).to(torch::kFloat64).mean().item<double>();
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (const int code = parse(arguments, argc, argv); code >= 0) return code;
  tutti::Session session(argc, argv);
  const Digits train(arguments.data, "train"), test(arguments.data, "t10k");

  Net net;
  net->to(session.device());
  torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(arguments.lr));
  tutti::DataParallel parallel(session, net, optimizer);

  parallel.at_end_of_epoch([&](std::int64_t) {
    for (auto& group : optimizer.param_groups()) group.options().set_lr(group.options().get_lr() * 0.75);
  });

  auto batches = parallel.batches(train, arguments.batch, arguments.epochs,
                                  tutti::BatchesOptions().micro_batches(arguments.micro_batches));
  for (auto& batch : batches) {
    if (batches.begins_step()) optimizer.zero_grad();
    const torch::Tensor loss =
        torch::nll_loss(net(shifted(batch.data).to(session.device())), batch.target.to(session.device()));
    loss.backward();
    session.log("loss", loss.item<double>());
    if (!batches.ends_step()) continue;
    // tutti has averaged over the ranks; the micro-batches are the program's own.
    for (torch::Tensor& parameter : net->parameters()) {
      if (arguments.micro_batches > 1) parameter.mutable_grad().div_(arguments.micro_batches);
    }
    optimizer.step();
  }

  if (session.rank() != 0) return 0;
  std::printf("done: accuracy=%.4f steps=%lld workers=%d shards=%d exchange=%.*s parameters=%s\n",
              accuracy_of(net, test, session.device()), static_cast<long long>(parallel.steps()), session.world_size(),
              session.shards(), static_cast<int>(session.exchange().size()), session.exchange().data(),
              parallel.state().model_hash().substr(0, 16).c_str());
}
