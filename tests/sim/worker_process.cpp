// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/worker_process.h"

#include <cstring>

#include "common/crc32c.h"
#include "tests/sim/shard_process.h"
#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

constexpr Duration kLeaseLook = std::chrono::milliseconds(50);

}  // namespace

WorkerProcess::WorkerProcess(World& world, Id id, int host, const Job& job, const ChildPlan& plan)
    : Process(world, id, host, plan.member, job),
      membership_(*this, *this, plan.generation),
      signs_(*this, plan.status),
      files_(world.disk(),
             [this](testing::Operation, const std::string& path) { return this->world().file(*this, path); }),
      is_newcomer_(plan.newcomer),
      memory_(plan.memory) {}

void WorkerProcess::start() {
  membership_.join(world().settings().workers);
}

void WorkerProcess::on_joined() {
  signs_.begin();
  is_newcomer_ ? meet() : load();
}

Result<> WorkerProcess::on_order(FrameType, std::span<const std::byte>) {
  return fail(Errc::kProtocol, "a frame that is for agents");
}

void WorkerProcess::on_run_ended(const Failure& why) {
  if (has_left_) return;
  world().tell("{} ends: {}", name(), why.text());
  end(exit_code(why.code));
}

void WorkerProcess::end(int exit_code) {
  ++attempt_;
  exit(exit_code << 8);
}

// As a program whose exception reaches its main.
void WorkerProcess::give_up(const Failure& why) {
  if (std::exchange(is_failing_, true)) return;
  check(!world().settings().is_calm || why.code != Errc::kTimeout, "{} waited in vain at step {}: {}", name(),
        step_ + 1, why.text());
  ++attempt_;
  check(!world().settings().is_calm || why.code != Errc::kTimeout, "{} waited in vain at step {}: {}", name(),
        step_ + 1, why.text());
  world().tell("{} fails at step {}: {}", name(), step_ + 1, why.text());
  membership_.tell(FrameType::kAbort, encode(Abort{why.code, member(), why.text()}));
  after(std::chrono::milliseconds(1), [this, why] { end(exit_code(why.code)); });
}

void WorkerProcess::locate(int shard, std::function<void(Port)> found) {
  StoreRequest message;
  message.verb = StoreVerb::kGet;
  message.keys = {shard_key(shard)};
  membership_.request(FrameType::kStoreRequest, std::move(message), kWait,
                      [this, found = std::move(found)](const Result<Reply>& reply) {
                        if (!reply) return give_up(reply.error());
                        found(std::stoi(reply->values.at(0)));
                      });
}

ExchangeMemory WorkerProcess::exchange_memory() {
  const Settings& settings = world().settings();
  if (buckets_.empty()) buckets_ = initial_parameters(settings.table);
  ExchangeMemory memory;
  if (memory_) {
    const int rank = member().rank;
    memory.placement = {memory_->keeper(), settings.local_rank(rank), settings.local_size(rank), true};
    auto placed = memory_->places(memory.placement, settings.table);
    places_ = std::move(placed.buckets);
    memory.journal = std::move(placed.journal);
  }
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket)
    memory.buckets.push_back(memory_ ? places_[bucket].get() : buckets_[bucket].data());
  return memory;
}

void WorkerProcess::connect_to_shards(std::optional<ExchangeStanding> standing) {
  goes_on_ = standing.has_value();
  exchange_ =
      std::make_unique<ExchangeClient>(*this, *this, membership_.generation(), exchange_memory(), std::move(standing));
  exchange_->connect();
  after(kWait, [this, attempt = attempt_] {
    if (attempt == attempt_) give_up(fail(Errc::kTimeout, "not all shards could be reached"));
  });
}

void WorkerProcess::on_exchange_open() {
  is_newcomer_ = lost_a_shard_ = false;
  if (!goes_on_) return begin_step();
  ++attempt_;
  exchange_->go_on();
  await_exchange();
}

void WorkerProcess::begin_step() {
  ++attempt_;
  if (step_ >= world().total_steps()) return leave();
  if (!signs_.has_lease()) world().count(Fault::kNoLease);
  await_lease(now() + kWait);
}

// As worker/session_impl.cpp does at the begin of an iteration.
void WorkerProcess::await_lease(TimePoint give_up_at) {
  if (signs_.has_lease()) return make_step();
  if (now() > give_up_at) return give_up(fail(Errc::kUnavailable, "no lease: the coordinator is silent"));
  after(kLeaseLook, [this, give_up_at, attempt = attempt_] {
    if (attempt == attempt_) await_lease(give_up_at);
  });
}

void WorkerProcess::make_step() {
  world().checks().begins_step(*this);
  signs_.begin_step(step_ + 1);
  membership_.progress(step_ + 1);
  step_ % world().settings().compare_every == 0 ? compare_replicas() : exchange();
}

void WorkerProcess::compare_replicas() {
  std::uint32_t crc = 0;
  for (const Bytes& bucket : parameters_) crc = crc32c(bucket, crc);
  signs_.ask();
  membership_.gather({GatherKey::Kind::kCollective, step_ + 1, 0}, std::to_string(crc), kWait,
                     [this, crc](const Result<Reply>& all) {
                       if (!all) return give_up(all.error());
                       signs_.answered();
                       for (const std::string& other : all->values)
                         check(other == std::to_string(crc), "replicas differ before step {}", step_ + 1);
                       exchange();
                     });
}

void WorkerProcess::exchange() {
  world().checks().acts(*this, membership_.generation());
  compute_gradient(world().settings().table, parameters_, step_, member().rank, buckets_);
  for (std::size_t bucket = 0; bucket < places_.size(); ++bucket)
    std::memcpy(places_[bucket].get(), buckets_[bucket].data(), buckets_[bucket].size());
  exchange_->start({step_ + 1, 0});
  await_exchange();
}

void WorkerProcess::await_exchange() {
  signs_.begin_wait();
  after(kWait, [this, attempt = attempt_] {
    if (attempt == attempt_) give_up(fail(Errc::kTimeout, "the parameter server did not answer in time"));
  });
}

void WorkerProcess::on_exchange_finished() {
  if (is_dead()) return;
  // The round is not over before all have gone on: who lives on may have to hand its results on.
  if (is_superseded_) {
    if (const auto mended = std::exchange(on_mended_, nullptr)) mended();
    return;
  }
  signs_.end_wait();
  take_results();
  after(world().draw().seconds(0.001, 0.02) + slowness(), [this, attempt = attempt_] {
    if (attempt == attempt_) begin_step();
  });
}

void WorkerProcess::take_results() {
  for (std::size_t bucket = 0; bucket < places_.size(); ++bucket)
    std::memcpy(buckets_[bucket].data(), places_[bucket].get(), buckets_[bucket].size());
  update(world().settings().table, buckets_, parameters_);
  world().checks().makes_step(*this, step_, buckets_, parameters_);
  ++step_;
  ++attempt_;
  is_settled_ = true;
  if (member().rank == 0 && step_ % world().settings().checkpoint_every == 0) save();
}

void WorkerProcess::leave() {
  signs_.leave();
  membership_.request(FrameType::kLeave, Leave(), kWait, [this](const Result<Reply>& goodbye) {
    if (!goodbye) return give_up(goodbye.error());
    has_left_ = true;
    end(0);
  });
}

}  // namespace tutti::sim
