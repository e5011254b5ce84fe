// SPDX-License-Identifier: Apache-2.0
// Six equal layers and a batch large enough that backward lasts longer than a slow link needs for the gradients: three steps of it.
#include <torch/torch.h>
#include <tutti/tutti.h>

#include <string>

int main(int argc, char** argv) {
  tutti::Session session(argc, argv);
  const std::int64_t batch = argc > 1 ? std::stoll(argv[1]) : 4096, width = 640;
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
