// SPDX-License-Identifier: Apache-2.0
// LibTorch's own parts without Python: ProcessGroupGloo for rounds, c10d::Reducer over it for training steps, with
// DDP's bucket sizes. Ranks meet as torch.distributed's do, through RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
//   peer_reducer allreduce --bytes 4096      peer_reducer step --model mlp
#include <torch/torch.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <algorithm>
#include <cstdlib>

#include "launch/bench/rounds.h"
#include "launch/bench/step.h"
#include "tests/perf/peers/peer_main.h"

namespace {

constexpr std::int64_t kBucketBytes = 25 << 20, kFirstBucketBytes = 1 << 20;  // DDP's

int number(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) {
    std::fprintf(stderr, "peer_reducer: %s is not set\n", variable);
    std::exit(64);
  }
  return std::atoi(text);
}

class Group {
 public:
  Group() : rank_(number("RANK")), ranks_(number("WORLD_SIZE")) {
    c10d::TCPStoreOptions where;
    where.port = static_cast<std::uint16_t>(number("MASTER_PORT"));
    where.isServer = rank_ == 0;
    const char* address = std::getenv("MASTER_ADDR");
    auto store = c10::make_intrusive<c10d::TCPStore>(address != nullptr ? address : "127.0.0.1", where);
    auto options = c10d::ProcessGroupGloo::Options::create();
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
    gloo_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank_, ranks_, options);
    group_ = c10::make_intrusive<c10d::ProcessGroup>(store, rank_, ranks_);
    group_->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo_);
    group_->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
  }

  int rank() const noexcept { return rank_; }
  int ranks() const noexcept { return ranks_; }
  const c10::intrusive_ptr<c10d::ProcessGroup>& group() const noexcept { return group_; }
  void meet() const { gloo_->barrier()->wait(); }
  void reduce(torch::Tensor tensor, c10d::ReduceOp::RedOpType how) const {
    std::vector<torch::Tensor> tensors{std::move(tensor)};
    c10d::AllreduceOptions options;
    options.reduceOp = how;
    gloo_->allreduce(tensors, options)->wait();
  }
  std::vector<double> gather(const std::vector<double>& numbers) const {
    // Each rank's part of zeros summed up: a gather that needs no other collective.
    std::vector<double> all(numbers.size() * static_cast<std::size_t>(ranks_));
    std::copy(numbers.begin(), numbers.end(), all.begin() + static_cast<std::ptrdiff_t>(numbers.size()) * rank_);
    reduce(torch::from_blob(all.data(), {static_cast<std::int64_t>(all.size())}, torch::kFloat64), c10d::ReduceOp::SUM);
    return all;
  }

 private:
  const int rank_, ranks_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo_;
  c10::intrusive_ptr<c10d::ProcessGroup> group_;
};

class ByGloo final : public tutti::bench::Collective {
 public:
  ByGloo(const Group& group, std::uint64_t bytes) : group_(group), bytes_(bytes), memory_(bytes) {
    for (std::uint32_t b = 0; b < memory_.places().size(); ++b) {
      const auto all = values(b);
      tensors_.push_back(torch::from_blob(all.data(), {static_cast<std::int64_t>(all.size())}, torch::kFloat32));
    }
  }

  int rank() const override { return group_.rank(); }
  int ranks() const override { return group_.ranks(); }
  std::span<float> values(std::uint32_t bucket) override {
    return {reinterpret_cast<float*>(memory_.places()[bucket]), tutti::bench::elements_of(bucket, bytes_)};
  }
  void reduce(std::uint32_t bucket) override { group_.reduce(tensors_[bucket], c10d::ReduceOp::SUM); }
  tutti::Reduction reduction() const override { return tutti::Reduction::kSum; }
  float tolerance() const override { return 0; }  // the pattern's sums are exact in any order
  void max_over_ranks(std::vector<double>& numbers) override {
    group_.reduce(torch::from_blob(numbers.data(), {static_cast<std::int64_t>(numbers.size())}, torch::kFloat64),
                  c10d::ReduceOp::MAX);
  }

 private:
  const Group& group_;
  const std::uint64_t bytes_;
  tutti::bench::PlainMemory memory_;
  std::vector<torch::Tensor> tensors_;
};

class ByReducer final : public tutti::bench::Averaging {
 public:
  explicit ByReducer(const Group& group) : group_(group) {}

  void attach(torch::nn::Module& model, torch::optim::Optimizer&) override {
    const auto parameters = model.parameters();
    const std::vector<bool> sparse(parameters.size(), false);
    auto assignment = std::get<0>(c10d::compute_bucket_assignment_by_size(
        parameters, {static_cast<std::size_t>(kFirstBucketBytes), static_cast<std::size_t>(kBucketBytes)}, sparse));
    std::reverse(assignment.begin(), assignment.end());  // as DDP: the last layers' gradients are there first
    std::unordered_map<std::size_t, std::string> names;
    for (const auto& entry : model.named_parameters()) names.emplace(names.size(), entry.key());
    reducer_ = std::make_shared<c10d::Reducer>(
        parameters, std::move(assignment), group_.group(), sparse, kBucketBytes,
        /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/false, std::move(names), kFirstBucketBytes,
        /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false, std::vector<std::int64_t>{});
  }
  void before_backward(const at::Tensor& loss) override {
    reducer_->prepare_for_forward();
    reducer_->prepare_for_backward({loss});
  }
  void meet() override { group_.meet(); }
  std::vector<double> collect(const std::vector<double>& numbers) override { return group_.gather(numbers); }

 private:
  const Group& group_;
  std::shared_ptr<c10d::Reducer> reducer_;
};

}  // namespace

int main(int argc, char** argv) {
  const auto options = tutti::perf::options_or_exit(argc, argv);
  at::set_num_threads(1);
  const Group group;
  for (const std::uint64_t bytes : options.bytes) {
    ByGloo collective(group, bytes);
    tutti::perf::tell(tutti::bench::measure_rounds(collective, bytes, options.rounds), "gloo", group.rank());
  }
  if (options.bench == "step") {
    ByReducer averaging(group);
    // The gradients are divided before they are summed: not the same bits as after, where a gradient is subnormal.
    tutti::perf::tell(
        tutti::bench::measure_step(averaging, {options.model, group.rank(), group.ranks(), options.rounds, 1e-6}),
        "reducer-gloo", group.rank());
  }
  group.meet();  // the first rank's store has to outlive the others' use of it
}
