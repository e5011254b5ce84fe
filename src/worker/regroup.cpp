// SPDX-License-Identifier: Apache-2.0
#include "worker/regroup.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/bounded_archive.h"

namespace tutti::worker {
namespace {

// A newcomer has to start, and its program to make its model and open its data, before it can meet the others. A new
// shard has to start, too.
constexpr int kStartTimeouts = 10;

std::vector<int> newcomers_of(const std::vector<MeetingRank>& ranks) {
  std::vector<int> newcomers;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (ranks[rank].is_new) newcomers.push_back(static_cast<int>(rank));
  }
  return newcomers;
}

/// The first of the survivors that are furthest.
std::optional<int> donor_of(const std::vector<MeetingRank>& ranks) {
  std::optional<int> donor;
  for (int rank = 0; rank < static_cast<int>(ranks.size()); ++rank) {
    const auto at = [&](int of) -> const MeetingRank& { return ranks[static_cast<std::size_t>(of)]; };
    if (!at(rank).is_new && (!donor || at(rank).exchanges > at(*donor).exchanges)) donor = rank;
  }
  return donor;
}

bool is_shard(const MemberId& member) {
  return member.role == Role::kServer;
}

}  // namespace

Regrouper::Regrouper(const Rendezvous& meeting, const Clock& clock, EventSink& events, Logger log)
    : meeting_(meeting),
      member_(*meeting.member),
      clock_(clock),
      events_(events),
      log_(std::move(log)),
      is_newcomer_(meeting.identity.newcomer) {}

Regrouper::~Regrouper() = default;

Duration Regrouper::timeout() const {
  return from_seconds(meeting_.config.timeout_s);
}

Credentials Regrouper::credentials() const {
  return {meeting_.secret, meeting_.job, {Role::kWorker, meeting_.identity.rank, member_.generation()}};
}

void Regrouper::record_joined(Role role, int rank) const noexcept {
  events_.record(
      {clock_.now(), EventKind::kMemberJoined, rank, member_.generation(), 0, static_cast<std::uint32_t>(role), 0, 0});
}

void Regrouper::interrupt() {
  const std::lock_guard lock(mutex_);
  if (donor_) donor_->interrupt();
  if (receiver_) receiver_->interrupt();
  changed_.notify_all();
}

Result<> Regrouper::await_news() {
  std::unique_lock lock(mutex_);
  bool is_news = false;
  changed_.wait_until(lock, clock_.now() + timeout(), [&] {
    if (const auto news = member_.regroup()) {
      is_news = true;
      events_.record({clock_.now(), EventKind::kGenerationChanged, meeting_.identity.rank, news->generation});
      for (const MemberId& member : news->lost) {
        if (is_shard(member)) lost_shards_.insert(member.rank);
      }
    }
    return is_news || member_.aborted().has_value();
  });
  if (const auto end = member_.aborted()) return *end;
  if (is_news) return {};
  return fail(Errc::kTimeout, "the coordinator has not said what its new generation is");
}

Result<> Regrouper::not_superseded() const {
  if (!member_.is_superseded()) return {};
  return fail(Errc::kSuperseded, "another generation of the run has begun");
}

Result<> Regrouper::until_it_lasts() {
  while (true) {
    const Result<> done = once();
    if (done || done.error().code != Errc::kSuperseded) return done;
    TUTTI_TRY(await_news());
  }
}

Result<> Regrouper::run() {
  TUTTI_TRY(await_news());
  // A newcomer that is still on its way to its loop goes the same way on: what it asks for is answered again.
  if (is_newcomer_) return {};
  return until_it_lasts();
}

Result<> Regrouper::enter() {
  if (!is_newcomer_) return {};
  TUTTI_TRY(until_it_lasts());
  is_newcomer_ = false;
  return {};
}

Result<> Regrouper::once() {
  if (participants_.size() != 1) {
    return give_up(participants_.empty()
                       ? "is not in its training loop"
                       : fmt::format("exchanges {} models, and only one can be taken over", participants_.size()));
  }
  Participant& participant = *participants_.front();
  if (const auto why = participant.cannot_go_on(); why && !is_newcomer_) return give_up(*why);

  const auto ranks = meet(0, {}, clock_.now() + kStartTimeouts * timeout());
  TUTTI_TRY(ranks);
  const auto donor = donor_of(*ranks);
  if (!donor) return give_up("finds no rank that has lived on");
  TUTTI_TRY(participant.mend(succession_of(*ranks), clock_.now() + timeout()));
  const bool gives = *donor == meeting_.identity.rank && !newcomers_of(*ranks).empty();
  TUTTI_TRY(gives ? give(participant, *ranks) : take(participant, *ranks, *donor));
  if (!is_newcomer_) TUTTI_TRY(participant.go_on(clock_.now() + kStartTimeouts * timeout()));
  TUTTI_TRY(not_superseded());
  for (const int rank : newcomers_of(*ranks)) record_joined(Role::kWorker, rank);
  for (const int shard : std::exchange(lost_shards_, {})) record_joined(Role::kServer, shard);
  return {};
}

Result<std::vector<MeetingRank>> Regrouper::meet(std::uint32_t phase, const std::string& endpoint, Deadline deadline) {
  const auto all = member_.meet(phase, encode(self(endpoint)), deadline);
  TUTTI_TRY(all);
  std::vector<MeetingRank> ranks;
  for (const std::string& bytes : *all) {
    auto rank = decode<MeetingRank>(std::as_bytes(std::span(bytes)));
    TUTTI_TRY(rank);
    ranks.push_back(std::move(*rank));
  }
  return ranks;
}

MeetingRank Regrouper::self(const std::string& endpoint) const {
  const std::uint64_t exchanges = is_newcomer_ ? 0 : participants_.front()->exchanges();
  return {is_newcomer_, exchanges, meeting_.identity.host_index, meeting_.identity.local_rank, endpoint};
}

Succession Regrouper::succession_of(const std::vector<MeetingRank>& ranks) const {
  const std::uint64_t furthest = std::ranges::max(ranks, {}, &MeetingRank::exchanges).exchanges;
  Succession succession;
  succession.is_behind = !is_newcomer_ && participants_.front()->exchanges() < furthest;
  succession.lost_a_shard = !lost_shards_.empty();
  for (const MeetingRank& rank : ranks) {
    if (rank.host_index != meeting_.identity.host_index) continue;
    const auto local = static_cast<std::uint32_t>(rank.local_rank);
    if (rank.is_new)
      succession.new_on_host.push_back(local);
    else
      succession.first_survivor_on_host = std::min(succession.first_survivor_on_host.value_or(local), local);
  }
  return succession;
}

Result<> Regrouper::give(Participant& participant, const std::vector<MeetingRank>& ranks) {
  const TimePoint begin = clock_.now();
  auto donor = StateDonor::start(*meeting_.loop, meeting_.identity.address, credentials(), newcomers_of(ranks),
                                 participant.give_state(), clock_, log_);
  TUTTI_TRY(donor);
  {
    const std::lock_guard lock(mutex_);
    donor_ = std::move(*donor);
  }
  Result<> given = not_superseded();
  if (given) {
    const auto met = meet(1, donor_->endpoint().text(), clock_.now() + timeout());
    given = met ? donor_->wait(clock_.now() + timeout()) : Result<>(met.error());
  }
  std::unique_ptr<StateDonor> done;
  {
    const std::lock_guard lock(mutex_);
    done = std::move(donor_);
  }
  done.reset();
  if (given) {
    log_.debug("gave its state to {} newcomers in {:.3f} s", newcomers_of(ranks).size(),
               to_seconds(clock_.now() - begin));
  }
  return given;
}

Result<> Regrouper::take(Participant& participant, const std::vector<MeetingRank>& ranks, int donor) {
  const auto met = meet(1, {}, clock_.now() + timeout());
  TUTTI_TRY(met);
  if (!is_newcomer_) return {};
  const auto endpoint = parse_endpoint((*met)[static_cast<std::size_t>(donor)].endpoint);
  TUTTI_TRY(endpoint);
  {
    const std::lock_guard lock(mutex_);
    receiver_ =
        StateReceiver::start(*meeting_.loop, *endpoint, credentials(), participant.state_bytes_max(), timeout());
  }
  Result<StateReceiver::State> state = not_superseded() ? receiver_->wait(clock_.now() + timeout())
                                                        : Result<StateReceiver::State>(not_superseded().error());
  std::unique_ptr<StateReceiver> done;
  {
    const std::lock_guard lock(mutex_);
    done = std::move(receiver_);
  }
  done.reset();
  TUTTI_TRY(state);
  // A generation that began on the way here has ended its waits, too.
  TUTTI_TRY(participant.go_on(clock_.now() + kStartTimeouts * timeout()));
  return participant.take_state(std::move(*state), succession_of(ranks));
}

Failure Regrouper::give_up(const std::string& why) {
  member_.ask_to_begin_again(why);
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, clock_.now() + timeout(), [this] { return member_.aborted().has_value(); });
  if (const auto end = member_.aborted()) return *end;
  return fail(Errc::kPeerLost, "a process of the run was lost, and this one " + why);
}

}  // namespace tutti::worker
