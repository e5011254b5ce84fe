// SPDX-License-Identifier: Apache-2.0
// The program of the README: a training loop of the user's own, with no configuration file. It learns the sum of eight
// numbers.
//   ./plain_loop                                      one process
//   mpirun -np 4 --bind-to none ./plain_loop          four MPI ranks
//   tutti run --workers 4 -- ./plain_loop             four managed workers
#include <torch/torch.h>
#include <tutti/tutti.h>

#include <cstdio>

namespace {

struct NetImpl : torch::nn::Module {
  torch::nn::Linear hidden{register_module("hidden", torch::nn::Linear(8, 32))},
      out{register_module("out", torch::nn::Linear(32, 1))};
  torch::Tensor forward(const torch::Tensor& x) { return out(torch::relu(hidden(x))); }
};
TORCH_MODULE(Net);

torch::data::datasets::TensorDataset sums(std::int64_t samples) {
  const torch::Tensor x = torch::rand({samples, 8});
  return torch::data::datasets::TensorDataset(torch::cat({x, x.sum(1, true)}, 1));
}

torch::Tensor loss_of(Net& net, const torch::Tensor& rows) {
  return torch::mse_loss(net(rows.narrow(1, 0, 8)), rows.narrow(1, 8, 1));
}

}  // namespace

// [readme]
int main(int argc, char** argv) {
  tutti::Session session(argc, argv);  // alone, mpirun, srun or managed: found out here
  const auto dataset = sums(4096);
  Net net;
  net->to(session.device());
  torch::optim::SGD optimizer(net->parameters(), /*lr=*/0.05);
  tutti::DataParallel parallel(session, net, optimizer);  // same start on every rank; hooks the gradients
  for (auto& batch : parallel.batches(dataset, /*per rank*/ 64, /*epochs*/ 5)) {
    optimizer.zero_grad();
    auto loss = loss_of(net, batch);
    loss.backward();  // returns when the averaged gradients are in place
    optimizer.step();
    session.log("loss", loss.item<double>());
  }
  if (session.rank() == 0) std::printf("parameters=%s\n", parallel.state().model_hash().substr(0, 16).c_str());
}
// [readme]
