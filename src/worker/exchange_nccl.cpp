// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_nccl.h"

#include <ATen/Functions.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>

#include <thread>
#include <utility>
#include <vector>

#include "worker/gradient_buckets.h"
#include "worker/nccl_communicator.h"

namespace tutti::worker {
namespace {

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
  NcclExchange(const Identity& identity, const Clock& clock)
      : identity_(identity),
        clock_(clock),
        device_(static_cast<c10::DeviceIndex>(identity.local_rank)),
        communicator_(clock),
        stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device_)) {}

  Result<> init(const std::string& id, Deadline deadline) {
    const c10::cuda::CUDAGuard guard(device_);
    return communicator_.init(id, identity_.rank, identity_.world_size, deadline);
  }

  ExchangeTraits traits() const noexcept override {
    return {"nccl", /*rank_ordered=*/false, /*in_place=*/true, /*cpu=*/false, /*cuda=*/true};
  }

  Result<> open(ExchangePlan plan, Deadline) override {
    buckets_.clear();
    object_ = plan.object;
    for (std::size_t b = 0; b < plan.buckets.size(); ++b) {
      const BucketSpec& spec = plan.buckets[b];
      const bool device = on_device(plan.memory[b]);
      const at::TensorOptions options =
          at::TensorOptions(scalar_type_of(spec.dtype)).device(device ? c10::Device(c10::kCUDA, device_) : c10::kCPU);
      const at::Tensor given = at::from_blob(plan.memory[b], {static_cast<std::int64_t>(spec.elements)}, options);
      buckets_.push_back(
          {spec, device ? given : at::empty_like(given, given.options().device(c10::Device(c10::kCUDA, device_))),
           device ? at::Tensor() : given});
    }
    return {};
  }

  Result<> start(const ExchangeId&, std::uint32_t index) override {
    TUTTI_TRY(communicator_.check());
    DeviceBucket& bucket = buckets_[index];
    // The gradient was written on the stream of the hook; only what follows it may read it.
    at::cuda::CUDAEvent ready;
    ready.record(c10::cuda::getCurrentCUDAStream(device_));
    ready.block(stream_);
    const c10::cuda::CUDAStreamGuard guard(stream_);
    if (bucket.host.defined()) bucket.tensor.copy_(bucket.host);
    TUTTI_TRY(communicator_.settle(enqueue(bucket), "all-reduce", clock_.now() + std::chrono::seconds(30)));
    if (bucket.spec.reduction == Reduction::kAverage) bucket.tensor.div_(identity_.world_size);
    started_.push_back(index);
    return {};
  }

  Result<> poll() override { return communicator_.check(); }

  // One stream does the buckets in their order, and its end is what is waited for.
  Result<> wait(std::uint32_t, Deadline deadline) override { return finish(deadline); }

  Result<> finish(Deadline deadline) override {
    const std::vector<std::uint32_t> started = std::exchange(started_, {});
    if (started.empty()) return {};
    at::cuda::CUDAEvent done;
    done.record(stream_);
    done.block(c10::cuda::getCurrentCUDAStream(device_));
    // The host waits, too: which parameters had a gradient is read there, and optimizer.step() must not use a sum that
    // failed.
    while (!done.query()) {
      TUTTI_TRY(communicator_.check());
      if (clock_.now() >= deadline) {
        return fail(Errc::kTimeout,
                    fmt::format("NCCL: rank {} waited in vain for the buckets of model {}", identity_.rank, object_));
      }
      std::this_thread::yield();
    }
    for (const std::uint32_t index : started) {
      if (buckets_[index].host.defined()) buckets_[index].host.copy_(buckets_[index].tensor);
      tell_done(index);
    }
    return communicator_.check();
  }

  void abort(const Failure& cause) noexcept override { communicator_.abort(cause); }

 private:
  ncclResult_t enqueue(DeviceBucket& bucket) {
    void* memory = bucket.tensor.mutable_data_ptr();
    const ncclDataType_t type = nccl_type_of(bucket.spec.dtype);
    if (bucket.spec.reduction == Reduction::kBroadcast) {
      return ncclBroadcast(memory, memory, bucket.tensor.nbytes(), ncclUint8, 0, communicator_.get(), stream_.stream());
    }
    return ncclAllReduce(memory, memory, bucket.spec.elements, type, ncclSum, communicator_.get(), stream_.stream());
  }

  const Identity identity_;
  const Clock& clock_;
  const c10::DeviceIndex device_;
  NcclCommunicator communicator_;
  const c10::cuda::CUDAStream stream_;
  std::uint32_t object_ = 0;
  std::vector<DeviceBucket> buckets_;
  std::vector<std::uint32_t> started_;
};

}  // namespace

Result<std::unique_ptr<Exchange>> make_nccl_exchange(Member& member, const Identity& identity, const Clock& clock,
                                                     Deadline deadline) {
  std::string id;
  if (identity.rank == 0) {
    auto made = NcclCommunicator::new_id();
    TUTTI_TRY(made);
    id = std::move(*made);
  }
  auto shared = member.broadcast(std::move(id), 0, deadline);
  TUTTI_TRY(shared);
  auto exchange = std::make_unique<NcclExchange>(identity, clock);
  TUTTI_TRY(exchange->init(*shared, deadline));
  return std::unique_ptr<Exchange>(std::move(exchange));
}

}  // namespace tutti::worker
