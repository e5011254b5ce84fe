// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_ps.h"

#include <optional>
#include <utility>

#include "common/assert.h"

namespace tutti::worker {

namespace {

class PsExchange final : public Exchange {
 public:
  explicit PsExchange(ps::Client& client) : client_(client) {}
  ~PsExchange() override {
    if (object_) client_.close(*object_);
  }

  ExchangeTraits traits() const noexcept override {
    return {.name = "ps", .rank_ordered = true, .adds_in_float = true};
  }

  Result<std::vector<BucketMemory>> place(const ExchangePlan& plan, Deadline deadline) override {
    return client_.place(plan.object, plan.number, plan.buckets, deadline);
  }

  Result<> open(ExchangePlan plan, Deadline deadline) override {
    object_ = plan.object;
    return client_.open({plan.object, plan.number, std::move(plan.buckets), std::move(plan.memory)}, deadline);
  }

  Result<> start(const ExchangeId& id, std::uint32_t bucket) override {
    TUTTI_ASSERT(object_, "an exchange starts after its open");
    return client_.start(*object_, {id.step, id.index}, bucket);
  }

  Result<> poll() override { return client_.poll(); }

  Result<> wait(std::uint32_t bucket, Deadline deadline) override {
    TUTTI_ASSERT(object_, "an exchange is waited for after its open");
    return client_.wait(*object_, bucket, deadline);
  }

  Result<> finish(Deadline deadline) override {
    TUTTI_ASSERT(object_, "an exchange finishes after its open");
    return client_.finish(*object_, deadline);
  }

  void abort(const Failure& cause) noexcept override { client_.abort(cause); }

 private:
  ps::Client& client_;
  std::optional<std::uint32_t> object_;
};

}  // namespace

std::unique_ptr<Exchange> make_ps_exchange(ps::Client& client) {
  return std::make_unique<PsExchange>(client);
}

}  // namespace tutti::worker
