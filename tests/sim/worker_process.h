// SPDX-License-Identifier: Apache-2.0
// A worker of a simulated world: a training loop around a client machine. It loads the newest checkpoint, or takes a
// survivor's state where it takes a lost one's place; it makes its steps; rank 0 saves. In a new generation the ranks
// meet as those of worker/regroup.cpp do. Whoever is behind waits for the results that are on their way to it in the
// generation that was, as worker/exchange_ps.cpp does, or ends where a shard is lost that had them; the others go on
// with its part of the step that was interrupted, pushing again what it holds.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>

#include "tests/sim/child_plan.h"
#include "tests/sim/exchange_client.h"
#include "tests/sim/membership.h"
#include "tests/sim/state_transfer.h"
#include "tests/sim/vital_signs.h"
#include "tests/support/memory_file_system.h"

namespace tutti::sim {

/// What a rank tells the others at a meeting.
struct MeetingRank {
  bool is_new = false;
  std::uint64_t step = 0;
  std::int32_t donor_port = 0;  ///< the donor's, at the second meeting
  template <class Archive>
  void serialize(Archive& archive) {
    archive(is_new, step, donor_port);
  }
};

class WorkerProcess final : public Process, public Membership::Owner, public ExchangeClient::Owner {
 public:
  WorkerProcess(World& world, Id id, int host, const Job& job, const ChildPlan& plan);
  void start() override;

  void on_joined() override;
  void on_regroup(const Regroup& regroup) override;
  Result<> on_order(FrameType, std::span<const std::byte>) override;
  void on_run_ended(const Failure& why) override;

  void locate(int shard, std::function<void(Port)> found) override;
  void on_exchange_open() override;
  void on_exchange_finished() override;
  void on_exchange_failed(const Failure& why) override { give_up(why); }

 private:
  // worker_process.cpp: the training loop
  void connect_to_shards(std::optional<ExchangeStanding> standing);
  ExchangeMemory exchange_memory();
  void await_exchange();
  void begin_step();
  void await_lease(TimePoint give_up);
  void make_step();
  void take_results();
  void compare_replicas();
  void exchange();
  void leave();
  void give_up(const Failure& why);
  void end(int exit_code);

  // worker_state.cpp: where a state comes from and goes to
  void load();
  void agree_on_checkpoint();
  void save();
  void meet();
  void on_met(const Reply& all);
  void mend(std::function<void()> done);
  void meet_again(int donor, std::set<int> takers);
  void take_from(Port donor);
  void go_on();
  void ask_to_begin_again(const std::string& why);

  Membership membership_;
  VitalSigns signs_;
  testing::HookedFileSystem files_;
  bool is_newcomer_;
  bool is_settled_ = false;  // has made a step, or taken the state of one that has
  bool has_left_ = false;
  bool is_failing_ = false;
  std::uint64_t step_ = 0;  // steps made
  Buckets parameters_;
  const std::shared_ptr<HostMemory> memory_;
  ps::HostBuckets places_;     // in the memory of its host, where that is shared
  Buckets buckets_;            // what is in exchange, or a copy of what lies in those
  std::uint64_t attempt_ = 0;  // to make a step: a wait of an older one is void
  std::unique_ptr<ExchangeClient> exchange_;
  std::optional<ExchangeStanding> standing_;  // of the exchange of the generation before
  bool is_superseded_ = false;                // a generation has begun that it has not gone on in
  bool lost_a_shard_ = false;                 // since it went on the last time
  bool is_behind_ = false;                    // another rank is done with the round that this one is in
  std::function<void()> on_mended_;           // called when the results are there that the others have
  bool goes_on_ = false;                      // the exchange does, with its standing
  std::unique_ptr<StateDonor> donor_;
  std::unique_ptr<StateReceiver> receiver_;
};

}  // namespace tutti::sim
