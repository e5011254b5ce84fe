// SPDX-License-Identifier: Apache-2.0
#include "worker/exchange_ps.h"

#include <optional>
#include <utility>

#include "common/assert.h"

namespace tutti::worker {

namespace {

class PsExchange final : public Exchange {
 public:
  PsExchange(ps::Client& client, FindShards find_shards) : client_(client), find_shards_(std::move(find_shards)) {}
  ~PsExchange() override {
    if (object_) client_.close(*object_);
  }

  ExchangeTraits traits() const noexcept override {
    return {.name = "ps",
            .rank_ordered = true,
            .adds_in_float = true,
            .in_place = find_shards_ == nullptr,
            .outlives_losses = find_shards_ != nullptr,
            .looks_for_nan = true};
  }

  Result<std::vector<BucketMemory>> place(const ExchangePlan& plan, Deadline deadline) override {
    return client_.place(plan.object, plan.number, plan.buckets, deadline);
  }

  Result<> open(ExchangePlan plan, Deadline deadline) override {
    if (!client_.is_connected()) TUTTI_TRY(reconnect(deadline));
    object_ = plan.object;
    buckets_ = static_cast<std::uint32_t>(plan.buckets.size());
    return client_.open({plan.object, plan.number, std::move(plan.buckets), std::move(plan.memory)}, deadline);
  }

  Result<> start(const ExchangeId& id, std::uint32_t bucket) override {
    TUTTI_ASSERT(object_, "an exchange starts after its open");
    return client_.start(*object_, {id.step, id.index}, bucket);
  }

  Result<> hand_on(const ExchangeId& id, std::uint32_t bucket) override {
    TUTTI_ASSERT(object_, "an exchange starts after its open");
    return client_.start(*object_, {id.step, id.index}, bucket, /*has_result=*/true);
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

  std::vector<NotFinite> not_finite() const override {
    std::vector<NotFinite> all;
    for (const ps::NotFiniteResultElement& found : client_.not_finite(*object_)) {
      const bool is_somebodys = found.rank != ps::NotFiniteElement::kNobody;
      all.push_back({is_somebodys ? std::optional(static_cast<std::uint32_t>(found.rank)) : std::nullopt, found.bucket,
                     found.element});
    }
    return all;
  }

  void abort(const Failure& cause) noexcept override { client_.abort(cause); }

  // What the others have was sent to this rank, too: it is on its way, unless a shard that had it is gone. The round is
  // over when all go on: until then those that were further may be lost as well, and the round be made again.
  Result<> mend(const Succession& succession, Deadline deadline) override {
    is_over_ = succession.is_behind;
    if (!succession.is_behind) return {};
    if (succession.lost_a_shard)
      return fail(Errc::kPeerLost, "a shard was lost before this rank had the step's result, which the others have");
    TUTTI_TRY(client_.resume());
    for (std::uint32_t bucket = 0; bucket < buckets_; ++bucket) TUTTI_TRY(client_.wait(*object_, bucket, deadline));
    return {};
  }

  Result<> go_on(Deadline deadline) override {
    if (is_over_) TUTTI_TRY(client_.finish(*object_, deadline));
    is_over_ = false;
    return reconnect(deadline);
  }

 private:
  Result<> reconnect(Deadline deadline) {
    const auto shards = find_shards_(deadline);
    TUTTI_TRY(shards);
    return client_.reconnect(shards->generation, shards->endpoints, deadline);
  }

  ps::Client& client_;
  const FindShards find_shards_;
  std::optional<std::uint32_t> object_;
  std::uint32_t buckets_ = 0;
  bool is_over_ = false;  // the round, of which this rank has only now got the results
};

}  // namespace

std::unique_ptr<Exchange> make_ps_exchange(ps::Client& client, FindShards find_shards) {
  return std::make_unique<PsExchange>(client, std::move(find_shards));
}

}  // namespace tutti::worker
