// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/data_parallel_step.h"

#include <tutti/data_parallel.h>

#include <cstring>
#include <optional>

#include "launch/bench/step.h"

namespace tutti::bench {
namespace {

constexpr double kStepSumTolerance = 1e-6;

class ByDataParallel final : public Averaging {
 public:
  explicit ByDataParallel(Session& session) : session_(session) {}

  void attach(torch::nn::Module& model, torch::optim::Optimizer& optimizer) override {
    parallel_.emplace(session_, model, std::vector<torch::optim::Optimizer*>{&optimizer}, DataParallelOptions());
  }
  void meet() override { session_.barrier(); }
  std::vector<double> collect(const std::vector<double>& numbers) override {
    std::vector<double> all;
    const std::string own(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(double));
    for (const std::string& bytes : session_.all_gather(own)) {
      const std::size_t before = all.size();
      all.resize(before + bytes.size() / sizeof(double));
      std::memcpy(all.data() + before, bytes.data(), bytes.size());
    }
    return all;
  }

 private:
  Session& session_;
  std::optional<DataParallel> parallel_;
};

/// Two numbers have one sum, in whatever order; the sum of more has an order, which only some exchanges keep.
double tolerance_of(const Session& session, double wanted) {
  if (wanted >= 0) return wanted;
  const auto name = session.exchange();
  const bool keeps_order = name != "gloo" && name != "mpi" && name != "nccl";
  return keeps_order || session.world_size() <= 2 ? 0 : kStepSumTolerance;
}

}  // namespace

Measurement measure_data_parallel_step(Session& session, const Options& options) {
  ByDataParallel averaging(session);
  Measurement result = measure_step(averaging, {options.model, session.rank(), session.world_size(), options.rounds,
                                                tolerance_of(session, options.tolerance)});
  result.exchange = session.exchange();
  result.transport = options.transport;
  result.shards = session.shards();
  return result;
}

}  // namespace tutti::bench
