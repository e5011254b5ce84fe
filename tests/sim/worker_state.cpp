// SPDX-License-Identifier: Apache-2.0
// Where a worker's state comes from and goes to: checkpoints, and those that live on.
#include <algorithm>

#include "common/checkpoint_file.h"
#include "tests/sim/worker_process.h"
#include "tests/sim/world.h"

namespace tutti::sim {
namespace {

constexpr int kCheckpointsKept = 3;
// A newcomer has to start before it can meet the others.
constexpr int kStartTimeouts = 10;

std::string tensor_name(std::size_t bucket) {
  return fmt::format("parameters/{}", bucket);
}

}  // namespace

void WorkerProcess::load() {
  if (world().settings().is_calm) world().checks().begins_again(*this);
  parameters_ = initial_parameters(world().settings().table);
  const auto newest = load_newest_checkpoint(files_, kCheckpointFolder);
  if (is_dead()) return;
  if (!newest) return give_up(newest.error());
  if (newest->checkpoint) {
    step_ = newest->checkpoint->step;
    for (const NamedBytes& tensor : newest->checkpoint->file.tensors) {
      for (std::size_t bucket = 0; bucket < parameters_.size(); ++bucket) {
        if (tensor.name == tensor_name(bucket)) parameters_[bucket].assign(tensor.bytes.begin(), tensor.bytes.end());
      }
    }
  }
  world().checks().begins_with(*this, step_, parameters_, "from a checkpoint");
  agree_on_checkpoint();
}

void WorkerProcess::agree_on_checkpoint() {
  signs_.ask();
  membership_.gather({GatherKey::Kind::kCollective, 0, 0}, std::to_string(step_), kWait,
                     [this](const Result<Reply>& all) {
                       if (!all) return give_up(all.error());
                       signs_.answered();
                       for (const std::string& other : all->values) {
                         if (other != std::to_string(step_))
                           return give_up(fail(Errc::kMismatch, "ranks found different checkpoints"));
                       }
                       connect_to_shards(std::nullopt);
                     });
}

// A disk that fails does not stop a run.
void WorkerProcess::save() {
  CheckpointContent content;
  content.step = step_;
  for (std::size_t bucket = 0; bucket < parameters_.size(); ++bucket) {
    const auto elements = static_cast<std::int64_t>(parameters_[bucket].size() / sizeof(float));
    content.tensors.push_back({tensor_name(bucket), DType::kFloat32, {elements}, parameters_[bucket]});
  }
  const auto saved = save_checkpoint(files_, kCheckpointFolder, content);
  if (saved) (void)keep_newest(files_, kCheckpointFolder, step_, kCheckpointsKept);
}

void WorkerProcess::on_regroup(const Regroup& regroup) {
  ++attempt_;
  is_superseded_ = true;
  on_mended_ = nullptr;
  for (const MemberId& lost : regroup.lost) lost_a_shard_ = lost_a_shard_ || lost.role == Role::kServer;
  // What was sent in the generation before still comes.
  if (exchange_ && !exchange_->is_under_way()) exchange_.reset();
  donor_.reset();
  receiver_.reset();
  if (has_left_) return;
  world().tell("{} at step {} goes on in generation {}", name(), step_ + 1, regroup.generation);
  if (!is_settled_ && !is_newcomer_) return ask_to_begin_again("is in its first step");
  meet();
}

void WorkerProcess::meet() {
  membership_.gather({GatherKey::Kind::kRegroup, membership_.generation(), 0}, encode(MeetingRank{is_newcomer_, step_}),
                     kStartTimeouts * kTimeout, [this](const Result<Reply>& all) {
                       if (!all) return give_up(all.error());
                       on_met(*all);
                     });
}

void WorkerProcess::on_met(const Reply& all) {
  std::vector<MeetingRank> ranks;
  for (const std::string& bytes : all.values) {
    const auto rank = decode<MeetingRank>(std::as_bytes(std::span(bytes)));
    if (!rank) return give_up(rank.error());
    ranks.push_back(*rank);
  }
  std::optional<std::size_t> donor;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (!ranks[rank].is_new && (!donor || ranks[rank].step > ranks[*donor].step)) donor = rank;
  }
  if (!donor) world().checks().may_begin_again();
  if (!donor) return ask_to_begin_again("finds no rank that has lived on");
  std::set<int> takers;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (ranks[rank].is_new) takers.insert(static_cast<int>(rank));
  }
  is_behind_ = !is_newcomer_ && step_ < ranks[*donor].step;
  const auto go_on = [this, donor = static_cast<int>(*donor), takers] { meet_again(donor, takers); };
  is_behind_ ? mend(go_on) : go_on();
}

// What the others have was sent to this rank, too: it is on its way, unless a shard that had it is gone.
void WorkerProcess::mend(std::function<void()> done) {
  world().count(Fault::kBehind);
  if (lost_a_shard_ || !exchange_)
    return give_up(
        fail(Errc::kPeerLost, "a shard was lost before this rank had the step's result, which the others have"));
  if (exchange_->has_all_of({step_ + 1, 0})) return done();
  on_mended_ = std::move(done);
  after(kTimeout, [this, attempt = attempt_] {
    if (attempt == attempt_ && on_mended_)
      give_up(fail(Errc::kTimeout, "the results did not come that the others have"));
  });
}

void WorkerProcess::meet_again(int donor, std::set<int> takers) {
  MeetingRank self{is_newcomer_, step_};
  const bool takes = takers.contains(member().rank);
  const bool gives = donor == member().rank && !takers.empty();
  if (gives) {
    donor_ = std::make_unique<StateDonor>(*this, membership_.generation(), std::move(takers), step_, parameters_,
                                          [this] { go_on(); });
    self.donor_port = donor_->port();
    after(3 * kTimeout, [this, attempt = attempt_] {
      if (attempt == attempt_) give_up(fail(Errc::kTimeout, "a newcomer did not take the state"));
    });
  }
  membership_.gather({GatherKey::Kind::kRegroup, membership_.generation(), 1}, encode(self), 2 * kTimeout,
                     [this, donor, gives, takes](const Result<Reply>& all) {
                       if (!all) return give_up(all.error());
                       if (takes) {
                         const auto bytes = std::as_bytes(std::span(all->values.at(static_cast<std::size_t>(donor))));
                         const auto giver = decode<MeetingRank>(bytes);
                         return giver ? take_from(giver->donor_port) : give_up(giver.error());
                       }
                       if (!gives) go_on();
                     });
}

void WorkerProcess::take_from(Port donor) {
  receiver_ = std::make_unique<StateReceiver>(
      *this, membership_.generation(), donor, [this](Result<StateReceiver::State> state) {
        if (!state) return give_up(state.error());
        is_settled_ = true;
        step_ = state->step;
        parameters_ = std::move(state->parameters);
        world().checks().begins_with(*this, step_, parameters_, "from a survivor");
        go_on();
      });
}

// A rank goes on with the round that it was in, unless it has caught up, has taken another state, or was between two
// rounds.
void WorkerProcess::go_on() {
  ++attempt_;
  is_superseded_ = false;
  if (std::exchange(is_behind_, false)) take_results();
  if (exchange_) standing_ = exchange_->standing();
  const bool is_in_round = standing_ && standing_->machine.round && standing_->machine.round->step == step_ + 1;
  if (!is_in_round) standing_.reset();
  // Not from within a call of what is let go here.
  after(Duration::zero(), [this, attempt = attempt_] {
    if (attempt != attempt_) return;
    donor_.reset();
    receiver_.reset();
    connect_to_shards(standing_);
  });
}

void WorkerProcess::ask_to_begin_again(const std::string& why) {
  membership_.tell(FrameType::kRestart, encode(Restart{why}));
  after(kTimeout, [this, attempt = attempt_] {
    if (attempt == attempt_) give_up(fail(Errc::kPeerLost, "a process of the run was lost"));
  });
}

}  // namespace tutti::sim
