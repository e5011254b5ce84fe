// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_nccl.h"

#include <ATen/Functions.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "worker/abort_cause.h"
#include "worker/gradient_buckets.h"
#include "worker/nccl_communicator.h"
#include "worker/results_aside.h"

namespace tutti::worker {
namespace {

constexpr auto kEnqueueTime = std::chrono::seconds(30);  // which NCCL's first collective needs for its channels

ncclDataType_t nccl_type_of(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kFloat64:
      return ncclFloat64;
    case DType::kBFloat16:
      return ncclBfloat16;
    case DType::kFloat16:
      return ncclFloat16;
    case DType::kInt64:
      return ncclInt64;
    case DType::kInt32:
      return ncclInt32;
    default:
      return ncclUint8;  // broadcast as bytes
  }
}

bool on_device(const void* memory) {
  cudaPointerAttributes attributes{};
  return cudaPointerGetAttributes(&attributes, memory) == cudaSuccess && attributes.type == cudaMemoryTypeDevice;
}

/// One bucket as NCCL sees it: memory of the device, and where in host memory it comes from if it does.
struct DeviceBucket {
  BucketSpec spec;
  at::Tensor tensor;
  at::Tensor host;  // undefined: the bucket lies on the device itself
};

class NcclExchange final : public Exchange {
 public:
  NcclExchange(Member& member, NcclOptions options, const Clock& clock)
      : member_(member),
        options_(std::move(options)),
        clock_(clock),
        device_(static_cast<c10::DeviceIndex>(options_.identity.local_rank)),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device_)),
        results_(options_.outlives_losses) {}

  ExchangeTraits traits() const noexcept override {
    return {.name = "nccl",
            .in_place = !options_.outlives_losses,
            .cpu = false,
            .cuda = true,
            .outlives_losses = options_.outlives_losses};
  }

  Result<> open(ExchangePlan plan, Deadline deadline) override {
    if (!communicator_) TUTTI_TRY(connect(deadline));
    buckets_.clear();
    std::vector<at::Tensor> tensors;
    for (std::size_t b = 0; b < plan.buckets.size(); ++b) {
      const BucketSpec& spec = plan.buckets[b];
      const bool device = on_device(plan.memory[b]);
      const at::TensorOptions options =
          at::TensorOptions(scalar_type_of(spec.dtype)).device(device ? c10::Device(c10::kCUDA, device_) : c10::kCPU);
      const at::Tensor given = at::from_blob(plan.memory[b], {static_cast<std::int64_t>(spec.elements)}, options);
      buckets_.push_back(
          {spec, device ? given : at::empty_like(given, given.options().device(c10::Device(c10::kCUDA, device_))),
           device ? at::Tensor() : given});
      tensors.push_back(buckets_.back().tensor);
    }
    results_.open(std::move(tensors));
    return {};
  }

  Result<> start(const ExchangeId&, std::uint32_t index) override {
    TUTTI_TRY(cause_.check());
    DeviceBucket& bucket = buckets_[index];
    // The gradient was written on the stream of the hook; only what follows it may read it.
    at::cuda::CUDAEvent ready;
    ready.record(c10::cuda::getCurrentCUDAStream(device_));
    ready.block(stream_);
    const c10::cuda::CUDAStreamGuard guard(stream_);
    if (bucket.host.defined()) bucket.tensor.copy_(bucket.host);
    return enqueue(index);
  }

  Result<> poll() override { return cause_.check(); }

  // One stream does the buckets in their order, and its end is what is waited for.
  Result<> wait(std::uint32_t, Deadline deadline) override { return finish(deadline); }

  Result<> finish(Deadline deadline) override {
    if (!std::exchange(has_started_, false)) return {};
    // The host waits, too: which parameters had a gradient is read there, and optimizer.step() must not use a sum that
    // failed.
    TUTTI_TRY(await_stream(deadline));
    std::vector<std::uint32_t> finished;
    {
      const c10::cuda::CUDAStreamGuard guard(stream_);
      finished = results_.finish();
      for (const std::uint32_t index : finished) {
        if (buckets_[index].host.defined()) buckets_[index].host.copy_(buckets_[index].tensor);
      }
    }
    at::cuda::CUDAEvent done;
    done.record(stream_);
    done.block(c10::cuda::getCurrentCUDAStream(device_));
    for (const std::uint32_t index : finished) tell_done(index);
    return {};
  }

  void abort(const Failure& cause) noexcept override {
    cause_.set(cause);
    const std::lock_guard lock(mutex_);
    if (communicator_) communicator_->abort(cause);
  }

  Result<> mend(const Succession& succession, Deadline) override {
    if (!succession.is_behind) return {};
    return fail(Errc::kPeerLost, "NCCL: the others have the step's result already, and this rank cannot get it");
  }

  Result<> go_on(Deadline deadline) override {
    TUTTI_TRY(cause_.go_on());
    broken_.reset();
    TUTTI_TRY(drop(deadline));
    TUTTI_TRY(connect(deadline));
    const c10::cuda::CUDAStreamGuard guard(stream_);
    for (const std::uint32_t index : results_.begin_again()) TUTTI_TRY(enqueue(index));
    return {};
  }

 private:
  // An aborted communicator ends its kernels, which the stream waits for.
  Result<> drop(Deadline deadline) {
    std::shared_ptr<NcclCommunicator> old;
    {
      const std::lock_guard lock(mutex_);
      old = std::exchange(communicator_, nullptr);
    }
    if (old) old->abort(fail(Errc::kSuperseded, "the exchange goes on with another communicator"));
    at::cuda::CUDAEvent idle;
    idle.record(stream_);
    while (!idle.query()) {
      TUTTI_TRY(cause_.check());
      if (clock_.now() >= deadline) return late("the aborted collectives to end");
      std::this_thread::yield();
    }
    return {};
  }

  Result<> connect(Deadline deadline) {
    const c10::cuda::CUDAGuard guard(device_);
    const Identity& identity = options_.identity;
    const std::string key = fmt::format("nccl/{}/{}", member_.generation(), options_.object);
    if (identity.rank == 0) {
      auto id = NcclCommunicator::new_id();
      TUTTI_TRY(id);
      TUTTI_TRY(member_.set(key, std::move(*id)));
    }
    const auto id = member_.get(key, deadline);
    TUTTI_TRY(id);
    const auto made = std::make_shared<NcclCommunicator>(clock_);
    {
      const std::lock_guard lock(mutex_);
      communicator_ = made;
    }
    TUTTI_TRY(cause_.check());  // an abort from here on finds the communicator
    return made->init(*id, identity.rank, identity.world_size, deadline);
  }

  // A peer that is gone breaks the communicator before the coordinator has said who it was: the wait tells it, where
  // nothing better comes.
  Result<> enqueue(std::uint32_t index) {
    has_started_ = true;
    const at::Tensor& result = results_.start(index);
    if (broken_) return {};
    Result<> begun = communicator_->settle(collective(index, result), "all-reduce", clock_.now() + kEnqueueTime);
    if (!begun && !options_.outlives_losses) return begun;
    if (!begun) broken_ = begun.error();
    if (begun && buckets_[index].spec.reduction == Reduction::kAverage) result.div_(options_.identity.world_size);
    return {};
  }

  ncclResult_t collective(std::uint32_t index, const at::Tensor& result) {
    const DeviceBucket& bucket = buckets_[index];
    const void* from = bucket.tensor.const_data_ptr();
    void* to = result.mutable_data_ptr();
    if (bucket.spec.reduction == Reduction::kBroadcast)
      return ncclBroadcast(from, to, bucket.tensor.nbytes(), ncclUint8, 0, communicator_->get(), stream_.stream());
    return ncclAllReduce(from, to, bucket.spec.elements, nccl_type_of(bucket.spec.dtype), ncclSum, communicator_->get(),
                         stream_.stream());
  }

  Result<> await_stream(Deadline deadline) {
    at::cuda::CUDAEvent done;
    done.record(stream_);
    while (true) {
      TUTTI_TRY(cause_.check());
      if (const auto sound = communicator_->check(); !sound && !broken_) broken_ = sound.error();
      if (broken_ && !options_.outlives_losses) return *broken_;
      if (!broken_ && done.query()) return {};
      if (clock_.now() >= deadline) return broken_ ? *broken_ : late("the buckets");
      std::this_thread::yield();
    }
  }

  Failure late(const char* what) const {
    return fail(Errc::kTimeout, fmt::format("NCCL: rank {} waited in vain for {} of model {}", options_.identity.rank,
                                            what, options_.object));
  }

  Member& member_;
  const NcclOptions options_;
  const Clock& clock_;
  const c10::DeviceIndex device_;
  const c10::cuda::CUDAStream stream_;
  std::vector<DeviceBucket> buckets_;
  ResultsAside results_;
  bool has_started_ = false;
  std::optional<Failure> broken_;  // what failed in this generation's communicator
  AbortCause cause_;

  std::mutex mutex_;
  std::shared_ptr<NcclCommunicator> communicator_;  // changed by the training thread under mutex_
};

}  // namespace

std::unique_ptr<Exchange> make_nccl_exchange(Member& member, NcclOptions options, const Clock& clock) {
  return std::make_unique<NcclExchange>(member, std::move(options), clock);
}

}  // namespace tutti::worker
