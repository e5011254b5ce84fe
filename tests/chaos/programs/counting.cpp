// SPDX-License-Identifier: Apache-2.0
// A training whose data can be counted: every process writes down which samples its iterations were given, a line for
// each: "step epoch ranks rank sample...". One rank of worlds of a given size ends itself again and again while
// a file is there. The last line of rank 0 is "steps=N ranks=N".
#include <torch/torch.h>
#include <tutti/tutti.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

namespace {

/// Each sample is its own number.
class Numbers : public torch::data::datasets::BatchDataset<Numbers, torch::data::Example<>> {
 public:
  explicit Numbers(std::size_t size) : size_(size) {}
  torch::data::Example<> get_batch(torch::ArrayRef<std::size_t> indices) override {
    const torch::Tensor which = torch::tensor(std::vector<std::int64_t>(indices.begin(), indices.end()));
    return {torch::sin(which.to(torch::kFloat32)).unsqueeze(1), which};
  }
  std::optional<std::size_t> size() const override { return size_; }

 private:
  std::size_t size_;
};

struct Arguments {
  std::string folder;
  std::size_t samples = 480;
  std::int64_t epochs = 3;
  int hold_ms = 20;
  int worn_world = 0, worn_rank = 0;
  std::string worn_file;
};

CLI::App& declare(CLI::App& app, Arguments& a) {
  app.add_option("folder", a.folder, "where the lines go")->required();
  app.add_option("--samples", a.samples);
  app.add_option("--epochs", a.epochs);
  app.add_option("--hold-ms", a.hold_ms, "each step lasts at least so long");
  app.add_option("--worn-world", a.worn_world, "in worlds of this size");
  app.add_option("--worn-rank", a.worn_rank, "this rank kills itself");
  app.add_option("--worn-file", a.worn_file, "while this file is there");
  return app;
}

void train(const Arguments& arguments, tutti::Session& session) {
  torch::nn::Linear net(1, 1);
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  tutti::DataParallel parallel(session, net, optimizer);
  Numbers numbers(arguments.samples);
  std::ofstream lines(arguments.folder + "/" + std::to_string(::getpid()));
  const bool worn = session.world_size() == arguments.worn_world && session.rank() == arguments.worn_rank;
  for (auto& batch : parallel.batches(numbers, 2, arguments.epochs)) {
    const std::int64_t step = parallel.steps() - 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(arguments.hold_ms));
    if (worn && std::filesystem::exists(arguments.worn_file)) ::raise(SIGKILL);
    lines << step << ' ' << parallel.epoch() << ' ' << session.world_size() << ' ' << session.rank();
    for (const torch::Tensor& sample : batch.target.unbind()) lines << ' ' << sample.item<std::int64_t>();
    lines << std::endl;
    optimizer.zero_grad();
    net(batch.data).square().mean().backward();
    optimizer.step();
  }
  if (session.rank() == 0)
    std::printf("steps=%ld ranks=%d\n", static_cast<long>(parallel.steps()), session.world_size());
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app;
  CLI11_PARSE(declare(app, arguments), argc, argv);
  tutti::Session session(argc, argv);
  train(arguments, session);
}
