// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/worker_process.h"

#include "common/crc32c.h"
#include "tests/sim/shard_process.h"
#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

// Every so many steps the ranks compare their parameters, in a gather of the coordinator's.
constexpr std::uint64_t kCompareEvery = 4;

}  // namespace

WorkerProcess::WorkerProcess(World& world, Id id, int host, MemberId member, const Job& job, std::uint32_t generation,
                             bool newcomer)
    : Process(world, id, host, member, job),
      membership_(*this, *this, generation),
      files_(world.disk(),
             [this](testing::Operation, const std::string& path) { return this->world().file(*this, path); }),
      is_newcomer_(newcomer) {}

void WorkerProcess::start() {
  membership_.join(world().settings().workers);
}

void WorkerProcess::on_joined() {
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
  membership_.request(FrameType::kStoreRequest, std::move(message), kTimeout,
                      [this, found = std::move(found)](const Result<Reply>& reply) {
                        if (!reply) return give_up(reply.error());
                        found(std::stoi(reply->values.at(0)));
                      });
}

void WorkerProcess::connect_to_shards(std::optional<ps::ClientStanding> standing) {
  goes_on_ = standing.has_value();
  if (!goes_on_) compute_gradient(world().settings().table, parameters_, step_, member().rank, buckets_);
  exchange_ = std::make_unique<ExchangeClient>(*this, *this, membership_.generation(), buckets_, std::move(standing));
  exchange_->connect();
  after(2 * kTimeout, [this, attempt = attempt_] {
    if (attempt == attempt_) give_up(fail(Errc::kTimeout, "not all shards could be reached"));
  });
}

void WorkerProcess::on_exchange_open() {
  if (!goes_on_) return begin_step();
  ++attempt_;
  exchange_->go_on();
  await_exchange();
}

void WorkerProcess::begin_step() {
  ++attempt_;
  if (step_ >= world().total_steps()) return leave();
  membership_.progress(step_ + 1);
  step_ % kCompareEvery == 0 ? compare_replicas() : exchange();
}

void WorkerProcess::compare_replicas() {
  std::uint32_t crc = 0;
  for (const Bytes& bucket : parameters_) crc = crc32c(bucket, crc);
  membership_.gather({GatherKey::Kind::kCollective, step_ + 1, 0}, std::to_string(crc), kTimeout,
                     [this, crc](const Result<Reply>& all) {
                       if (!all) return give_up(all.error());
                       for (const std::string& other : all->values)
                         check(other == std::to_string(crc), "replicas differ before step {}", step_ + 1);
                       exchange();
                     });
}

void WorkerProcess::exchange() {
  world().checks().acts(*this, membership_.generation());
  compute_gradient(world().settings().table, parameters_, step_, member().rank, buckets_);
  exchange_->start({step_ + 1, 0});
  await_exchange();
}

void WorkerProcess::await_exchange() {
  after(kTimeout, [this, attempt = attempt_] {
    if (attempt == attempt_) give_up(fail(Errc::kTimeout, "the parameter server did not answer in time"));
  });
}

void WorkerProcess::on_exchange_finished() {
  if (is_dead()) return;
  update(world().settings().table, buckets_, parameters_);
  world().checks().makes_step(*this, step_, buckets_, parameters_);
  ++step_;
  ++attempt_;
  is_settled_ = true;
  if (member().rank == 0 && step_ % world().settings().checkpoint_every == 0) save();
  after(world().draw().seconds(0.001, 0.02), [this, attempt = attempt_] {
    if (attempt == attempt_) begin_step();
  });
}

void WorkerProcess::leave() {
  membership_.request(FrameType::kLeave, Leave(), 2 * kTimeout, [this](const Result<Reply>& goodbye) {
    if (!goodbye) return give_up(goodbye.error());
    has_left_ = true;
    end(0);
  });
}

}  // namespace tutti::sim
