// SPDX-License-Identifier: Apache-2.0
// Programs in the style of LibTorch's tutorials, with tutti's five lines marked: a plain struct model, a loader with
// worker threads, a loop over epochs of the program's own; with --gan two models with an optimizer each; with
// --own-communicator over a communicator of a program that uses MPI itself; with --layers a backward that is long
// enough to hide a slow link.
#include <torch/torch.h>
#include <tutti/tutti.h>  // 1
#ifdef TUTTI_WITH_MPI
#include <tutti/mpi.h>
#endif

#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>

namespace {

struct Net : torch::nn::Module {
  Net() {
    fc1 = register_module("fc1", torch::nn::Linear(4, 16)), fc2 = register_module("fc2", torch::nn::Linear(16, 1));
  }
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
  bool forgets = false;  ///< to call resume()
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
  tutti::DataParallel parallel(session, model, optimizer);  // 3
  parallel.schedule(scheduler);
  std::int64_t seen = 0;  // the program's own state
  session.state(
      "seen", [&](std::ostream& out) { out << seen; }, [&](std::istream& in) { in >> seen; });
  if (stop.resume && !parallel.load(stop.folder)) throw tutti::DataError("nothing to resume from");
  if (!stop.forgets) parallel.resume();
  auto dataset = Waves().map(torch::data::transforms::Stack<>());
  auto loader = torch::data::make_data_loader(std::move(dataset), parallel.sampler(203),  // 4
                                              torch::data::DataLoaderOptions().batch_size(8).workers(2));
  for (std::int64_t epoch = parallel.epoch(); epoch < 3; ++epoch) {
    for (auto& batch : parallel.consume(*loader)) {  // 5
      optimizer.zero_grad();
      const torch::Tensor loss = torch::mse_loss(model.forward(batch.data), batch.target);
      loss.backward();
      optimizer.step();
      if (++seen != parallel.steps()) throw tutti::DataError("the program's own state did not follow");
      if (parallel.steps() != stop.at) continue;
      parallel.save(stop.folder);
      return;
    }
    parallel.step(scheduler);
  }
  finish(session, {parallel.state().model_hash()});
}

void train_gan(tutti::Session& session) {
  torch::nn::Sequential generator(torch::nn::Linear(3, 8), torch::nn::BatchNorm1d(8), torch::nn::ReLU(),
                                  torch::nn::Linear(8, 4));
  torch::nn::Sequential discriminator(torch::nn::Linear(4, 8), torch::nn::LeakyReLU(), torch::nn::Linear(8, 1),
                                      torch::nn::Sigmoid());
  torch::optim::Adam generator_optimizer(generator->parameters(), 1e-3),
      discriminator_optimizer(discriminator->parameters(), 1e-3);
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

/// Six equal layers, three steps.
void train_layers(tutti::Session& session, std::int64_t batch) {
  const std::int64_t width = 640;
  torch::nn::Sequential net;
  for (int layer = 0; layer < 6; ++layer) {
    net->push_back(torch::nn::Linear(width, width));
    net->push_back(torch::nn::Tanh());
  }
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  tutti::DataParallel parallel(session, net, optimizer);
  torch::data::datasets::TensorDataset rows(torch::rand({3 * session.world_size(), 1}));
  for (auto& row : parallel.batches(rows, 1, 1)) {
    optimizer.zero_grad();
    net->forward(torch::rand({batch, width}) * row.data.sum()).pow(2).mean().backward();
    optimizer.step();
  }
}

void expect(bool holds, const char* what) {
  if (!holds) throw tutti::MismatchError(what);
}

void check_own_numbers(tutti::Session& session) {
  const double rank = session.rank(), last = session.world_size() - 1;
  expect(session.all_reduce(rank, tutti::Combine::kSum) == last * (last + 1) / 2, "sum");
  expect(session.all_reduce(rank, tutti::Combine::kMean) == last / 2, "mean");
  expect(session.all_reduce(rank, tutti::Combine::kMin) == 0, "min");
  expect(session.all_reduce(rank, tutti::Combine::kMax) == last, "max");
  expect(session.broadcast(session.name(), 0).starts_with("rank 0 on "), "broadcast");
  session.barrier();
}

#ifdef TUTTI_WITH_MPI
/// The program is MPI's; all its ranks but the last one train together, the last one alone.
int main_of_an_mpi_program(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Comm part;
  MPI_Comm_split(MPI_COMM_WORLD, rank == size - 1 ? 1 : 0, rank, &part);
  {
    tutti::Session session(part);
    check_own_numbers(session);
    train(session, {});
    if (rank == 0) std::printf("ranks=%d\n", session.world_size());
  }
  MPI_Finalize();
  return 0;
}
#endif

}  // namespace

int main(int argc, char** argv) {
#ifdef TUTTI_WITH_MPI
  if (argc > 1 && std::strcmp(argv[1], "--own-communicator") == 0) return main_of_an_mpi_program(argc, argv);
#endif
  tutti::Session session(argc, argv);  // 2
  if (argc > 1 && std::strcmp(argv[1], "--gan") == 0) {
    check_own_numbers(session);
    train_gan(session);
    return 0;
  }
  if (argc > 2 && std::strcmp(argv[1], "--layers") == 0) {
    train_layers(session, std::stoll(argv[2]));
    return 0;
  }
  Stop stop;
  if (argc > 1) stop.forgets = std::strcmp(argv[1], "--forget") == 0;
  if (argc > 3) stop = {std::stoll(argv[2]), argv[3], std::strcmp(argv[1], "--resume") == 0};
  train(session, stop);
}
