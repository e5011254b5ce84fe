// SPDX-License-Identifier: Apache-2.0
// What programs in C++ do without a library for it: after backward, one MPI_Allreduce for each gradient.
//   mpirun -np 2 peer_mpi_step step --model mlp
#include <torch/torch.h>

#include "launch/bench/step.h"
#include "tests/perf/peers/mpi_world.h"
#include "tests/perf/peers/peer_main.h"

namespace {

class AfterBackward final : public tutti::bench::Averaging {
 public:
  explicit AfterBackward(const tutti::perf::MpiProgram& mpi) : mpi_(mpi) {}

  void attach(torch::nn::Module& model, torch::optim::Optimizer&) override { parameters_ = model.parameters(); }
  void after_backward() override {
    for (const torch::Tensor& parameter : parameters_) {
      torch::Tensor& gradient = parameter.mutable_grad();
      mpi_.sum(gradient.data_ptr<float>(), static_cast<int>(gradient.numel()));
      gradient.div_(mpi_.ranks());
    }
  }
  void meet() override { mpi_.meet(); }
  std::vector<double> collect(const std::vector<double>& numbers) override { return mpi_.gather(numbers); }

 private:
  const tutti::perf::MpiProgram& mpi_;
  std::vector<torch::Tensor> parameters_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto options = tutti::perf::options_or_exit(argc, argv);
  const tutti::perf::MpiProgram mpi(argc, argv);
  at::set_num_threads(1);
  AfterBackward averaging(mpi);
  const double tolerance = mpi.ranks() <= 2 ? 0 : 1e-6;  // two numbers have one sum
  tutti::perf::tell(
      tutti::bench::measure_step(averaging, {options.model, mpi.rank(), mpi.ranks(), options.rounds, tolerance}),
      "openmpi-per-tensor", mpi.rank());
}
