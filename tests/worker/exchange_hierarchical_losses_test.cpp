// SPDX-License-Identifier: Apache-2.0
// Ranks, shards and hosts that are lost in the middle of an exchange in two stages, over real shared memory and real
// sockets: who lives on and who takes a lost one's place end with the bits of the undisturbed sums.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "tests/ps/cluster.h"
#include "tests/worker/host_ranks.h"
#include "worker/exchange_ps.h"

namespace tutti::worker {
namespace {

using namespace std::chrono_literals;

constexpr int kShards = 2;
using Ranks = std::set<std::size_t>;

/// Ranks that do what a training loop and its regrouping do, each round an exchange.
class LossyWorld {
 public:
  explicit LossyWorld(Sizes sizes)
      : sizes_(std::move(sizes)),
        cluster_(static_cast<int>(sizes_.size()), kShards, /*window_chunks=*/4, {.outlives_losses = true}) {
    for (std::uint32_t h = 0; h < sizes_.size(); ++h) {
      hosts_.push_back(std::make_unique<Host>(sizes_[h], "host" + std::to_string(h)));
      for (std::uint32_t r = 0; r < sizes_[h]; ++r) ranks_.push_back({.host = h, .local_rank = r});
    }
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) be_born(rank);
    each(all(), [this](std::size_t rank) { open_buckets(rank); });
  }
  ~LossyWorld() {
    for (Rank& rank : ranks_) rank.exchange.reset();
  }

  Ranks all() const {
    Ranks all;
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) all.insert(all.end(), rank);
    return all;
  }
  Ranks of_host(std::uint32_t host) const {
    Ranks ranks = all();
    std::erase_if(ranks, [&](std::size_t rank) { return ranks_[rank].host != host; });
    return ranks;
  }
  HierarchicalExchange& operator[](std::size_t rank) { return *ranks_[rank].exchange; }
  Deadline in(Duration time) const { return cluster_.clock().now() + time; }

  /// `body` as each of the ranks, at once.
  void each(const Ranks& ranks, const std::function<void(std::size_t)>& body) {
    std::vector<std::jthread> threads;
    for (const std::size_t rank : ranks) threads.emplace_back([&body, rank] { body(rank); });
  }

  /// Starts what the rank has not started of its round, up to that bucket.
  Result<> start(std::size_t number, std::uint32_t end = 1000) {
    Rank& rank = ranks_[number];
    for (std::uint32_t b = 0; rank.next == 0 && b < buckets_.size(); ++b) {
      if (buckets_[b].reduction == Reduction::kBroadcast) fill(rank.memory, b, number, rank.done);
    }
    for (; rank.next < std::min<std::size_t>(end, buckets_.size()); ++rank.next) {
      if (buckets_[rank.next].reduction != Reduction::kBroadcast) fill(rank.memory, rank.next, number, rank.done);
      TUTTI_TRY(rank.exchange->start({rank.done, 0}, rank.next));
    }
    return {};
  }
  /// Goes on to the end of so many rounds.
  Result<> run(std::size_t number, std::uint64_t rounds, Duration patience = 20s) {
    Rank& rank = ranks_[number];
    while (rank.done < rounds) {
      TUTTI_TRY(start(number));
      TUTTI_TRY(rank.exchange->finish(in(patience)));
      expect_results(number);
      ++rank.done;
      rank.next = 0;
    }
    return {};
  }
  void run_all(std::uint64_t rounds) {
    each(all(), [&](std::size_t rank) {
      const auto done = run(rank, rounds);
      EXPECT_TRUE(done) << "rank " << rank << ": " << done.error().text();
    });
  }
  void expect_results(std::size_t number) {
    const Rank& rank = ranks_[number];
    for (std::uint32_t b = 0; b < buckets_.size(); ++b) {
      EXPECT_TRUE(holds(rank.memory, b, expected(buckets_[b], sizes_, rank.done)))
          << "rank " << number << ", round " << rank.done << ", bucket " << b;
    }
  }

  /// Ends every wait: the ranks' of those that live on, and those that are killed.
  void strike(const Ranks& lost) {
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      const bool is_lost = lost.contains(rank);
      if (ranks_[rank].exchange)
        ranks_[rank].exchange->abort(fail(is_lost ? Errc::kCancelled : Errc::kSuperseded, "a loss"));
    }
  }
  /// After a strike, when nobody is in a verb: the lost go, the others mend, up to where newcomers would begin. Who
  /// cannot catch up is lost, too. Returns who is new.
  Ranks mend(Ranks lost, const std::set<int>& lost_shards = {}) {
    lost_shards_.insert(lost_shards.begin(), lost_shards.end());
    while (true) {
      ++generation_;
      for (const std::size_t rank : lost) be_born(rank);
      lost = mend_once();
      if (lost.empty()) return newcomers();
      strike(lost);
    }
  }
  /// All go on: the newcomers from the state of one that is furthest.
  void go_on() {
    for (const int shard : lost_shards_) cluster_.start(shard, generation_);
    lost_shards_.clear();
    const std::uint64_t furthest = rounds_of_furthest();
    each(all(), [&](std::size_t number) {
      Rank& rank = ranks_[number];
      const auto went_on = rank.exchange->go_on(in(20s));
      EXPECT_TRUE(went_on) << went_on.error().text();
      if (!rank.is_new) return;
      open_buckets(number);
      rank.exchange->take_over(furthest, succession_of(number));
      rank.done = furthest;
    });
    for (Rank& rank : ranks_) rank.is_new = false;
  }
  void replace(const Ranks& lost) {
    strike(lost);
    mend(lost);
    go_on();
  }

 private:
  struct Rank {
    std::uint32_t host = 0, local_rank = 0;
    bool is_new = false;
    std::uint64_t done = 0;  // rounds
    std::uint32_t next = 0;  // bucket to be started
    std::unique_ptr<Loop> loop = nullptr;
    std::unique_ptr<ps::Client> client = nullptr;
    std::unique_ptr<HierarchicalExchange> exchange = nullptr;
    Memory memory = {};
  };

  void be_born(std::size_t number) {
    Rank& rank = ranks_[number];
    rank.exchange.reset();
    rank.memory = {};
    rank.client.reset();
    rank.is_new = generation_ > 1;
    rank.done = rank.next = 0;
    std::unique_ptr<Exchange> between;
    if (rank.local_rank == 0) {
      ps::Client::Options options = cluster_.client_options(static_cast<int>(rank.host));
      options.credentials.self.generation = generation_;
      rank.loop = std::make_unique<Loop>();
      rank.client = std::make_unique<ps::Client>(*rank.loop, std::move(options), cluster_.clock(), events_);
      between = make_ps_exchange(*rank.client, [this](Deadline) {
        return Result<ShardsNow>(ShardsNow{generation_, cluster_.endpoints()});
      });
    }
    rank.exchange = hosts_[rank.host]->rank(rank.local_rank, static_cast<int>(ranks_.size()), std::move(between),
                                            /*outlives_losses=*/true);
  }
  void open_buckets(std::size_t rank) { ranks_[rank].memory = open(*ranks_[rank].exchange, buckets_, in(20s)); }

  Ranks newcomers() const {
    Ranks ranks = all();
    std::erase_if(ranks, [this](std::size_t rank) { return !ranks_[rank].is_new; });
    return ranks;
  }
  std::uint64_t rounds_of_furthest() const { return std::ranges::max_element(ranks_, {}, &Rank::done)->done; }
  Succession succession_of(std::size_t number) const {
    Succession succession;
    succession.is_behind = !ranks_[number].is_new && ranks_[number].done < rounds_of_furthest();
    succession.lost_a_shard = !lost_shards_.empty();
    for (const std::size_t other : of_host(ranks_[number].host)) {
      const std::uint32_t local = ranks_[other].local_rank;
      if (ranks_[other].is_new)
        succession.new_on_host.push_back(local);
      else if (!succession.first_survivor_on_host)
        succession.first_survivor_on_host = local;
    }
    return succession;
  }
  Ranks mend_once() {
    std::vector<Result<>> mended(ranks_.size());
    each(all(), [&](std::size_t rank) { mended[rank] = ranks_[rank].exchange->mend(succession_of(rank), in(20s)); });
    Ranks lost;
    for (std::size_t rank = 0; rank < mended.size(); ++rank) {
      if (mended[rank]) continue;
      EXPECT_EQ(mended[rank].error().code, Errc::kPeerLost) << mended[rank].error().text();
      lost.insert(rank);
    }
    return lost;
  }

  const Sizes sizes_;
  const std::vector<BucketSpec> buckets_ = many_buckets();
  ps::Cluster cluster_;
  EventBuffer events_{4096};
  std::uint32_t generation_ = 1;
  std::set<int> lost_shards_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<Rank> ranks_;
};

constexpr std::uint32_t kMany = 1000;

/// Of two hosts with two ranks each, the second round begun as far as each bucket number says.
struct Begun {
  LossyWorld world{{2, 2}};
  explicit Begun(const std::vector<std::uint32_t>& started) {
    world.run_all(1);
    for (std::size_t rank = 0; rank < started.size(); ++rank) EXPECT_TRUE(world.start(rank, started[rank]));
    for (std::size_t rank = 0; rank < started.size(); ++rank) EXPECT_TRUE(world[rank].poll());
  }
  void expect_goes_on() { world.run_all(4); }
};

TEST(HierarchicalLosses, OfAnyRankWhoseHostsSumHasNotMetTheOthers) {
  for (std::size_t lost = 0; lost < 4; ++lost) {
    Begun begun({kMany, kMany, 0, 3});
    begun.world.replace({lost});
    begun.expect_goes_on();
  }
}

TEST(HierarchicalLosses, OfAnyRankWhenAHostsSumIsNotWhole) {
  for (std::size_t lost = 0; lost < 4; ++lost) {
    Begun begun({kMany, 2, 4, kMany});
    begun.world.replace({lost});
    begun.expect_goes_on();
  }
}

TEST(HierarchicalLosses, OfAnyRankWhenSomeBucketsAreEverybodys) {
  for (std::size_t lost = 0; lost < 4; ++lost) {
    Begun begun({kMany, kMany, kMany, 4});
    begun.world.each(begun.world.all(),
                     [&](std::size_t rank) { EXPECT_TRUE(begun.world[rank].wait(3, begun.world.in(20s))); });
    begun.world.replace({lost});
    begun.expect_goes_on();
  }
}

// The leaders share what nobody takes: the others have the result of no bucket, though it is there for all. They take it
// when the leaders' buckets hold the next round's inputs already.
TEST(HierarchicalLosses, OfALeaderThatHasSharedWhatItsHostHasNotTaken) {
  for (const Ranks& lost : {Ranks{0}, Ranks{2}, Ranks{0, 2}}) {
    Begun begun({kMany, kMany, kMany, kMany});
    begun.world.each({0, 2}, [&](std::size_t rank) {
      EXPECT_EQ(begun.world[rank].finish(begun.world.in(1s)).error().code, Errc::kTimeout);
    });
    begun.world.replace(lost);
    begun.world.each(lost, [&](std::size_t rank) {
      EXPECT_TRUE(begun.world.run(rank, 2));
      EXPECT_TRUE(begun.world.start(rank));
    });
    begun.expect_goes_on();
  }
}

TEST(HierarchicalLosses, OfWholeHosts) {
  for (const std::uint32_t host : {0u, 1u}) {
    Begun begun({kMany, kMany, kMany, 4});
    begun.world.each(begun.world.all(),
                     [&](std::size_t rank) { EXPECT_TRUE(begun.world[rank].wait(1, begun.world.in(20s))); });
    begun.world.replace(begun.world.of_host(host));
    begun.expect_goes_on();
  }
}

TEST(HierarchicalLosses, OfAHostThatWasAheadOrBehind) {
  for (const std::uint32_t host : {0u, 1u}) {
    Begun begun({kMany, kMany, kMany, kMany});
    begun.world.each({0, 1}, [&](std::size_t rank) { EXPECT_TRUE(begun.world.run(rank, 2)); });
    begun.world.replace(begun.world.of_host(host));
    begun.expect_goes_on();
  }
}

TEST(HierarchicalLosses, OfARankWhoseHostIsBehind) {
  for (const std::size_t lost : {2u, 3u}) {
    Begun begun({kMany, kMany, kMany, kMany});
    begun.world.each({0, 1}, [&](std::size_t rank) { EXPECT_TRUE(begun.world.run(rank, 2)); });
    begun.world.strike({lost});
    const Ranks newcomers = begun.world.mend({lost});
    EXPECT_EQ(newcomers, lost == 2 ? Ranks({2, 3}) : Ranks({3})) << "without its leader the other cannot catch up";
    begun.world.go_on();
    begun.expect_goes_on();
  }
}

TEST(HierarchicalLosses, OfALeaderThatIsAheadOfItsHost) {
  Begun begun({kMany, kMany, kMany, kMany});
  begun.world.each({0, 1}, [&](std::size_t rank) { EXPECT_TRUE(begun.world.run(rank, 2)); });
  begun.world.each({2}, [&](std::size_t rank) {
    EXPECT_EQ(begun.world[rank].finish(begun.world.in(1s)).error().code, Errc::kTimeout);
  });
  begun.world.strike({2});
  EXPECT_EQ(begun.world.mend({2}), Ranks({2})) << "what it has shared is there for the other one";
  begun.world.go_on();
  begun.expect_goes_on();
}

// A leader that has caught up is in the middle of the round again when nobody is left that was further.
TEST(HierarchicalLosses, OfAllThatWereFurtherAfterALeaderHasCaughtUp) {
  Begun begun({kMany, kMany, kMany, kMany});
  begun.world.each({0, 1}, [&](std::size_t rank) { EXPECT_TRUE(begun.world.run(rank, 2)); });
  begun.world.strike({3});
  EXPECT_EQ(begun.world.mend({3}), Ranks({3}));
  begun.world.strike({0, 1});
  EXPECT_EQ(begun.world.mend({0, 1}), Ranks({0, 1, 3}));
  begun.world.go_on();
  begun.expect_goes_on();
}

TEST(HierarchicalLosses, OneAfterTheOtherBeforeTheFirstIsReplaced) {
  for (const std::vector<std::size_t>& lost : {std::vector<std::size_t>{0, 1}, {1, 0}, {2, 3}, {0, 2}, {2, 2}}) {
    Begun begun({kMany, kMany, kMany, 4});
    begun.world.each(begun.world.all(),
                     [&](std::size_t rank) { EXPECT_TRUE(begun.world[rank].wait(1, begun.world.in(20s))); });
    begun.world.strike({lost[0]});
    begun.world.mend({lost[0]});
    begun.world.strike({lost[1]});
    begun.world.mend({lost[1]});
    begun.world.go_on();
    begun.expect_goes_on();
  }
}

TEST(HierarchicalLosses, OneWhenTheOthersSuccessorHasStartedNothingOrSomething) {
  for (const std::uint32_t started : {0u, 2u, kMany}) {
    for (const std::vector<std::size_t>& lost : {std::vector<std::size_t>{0, 1}, {1, 0}, {2, 3}, {0, 2}, {0, 0}}) {
      Begun begun({kMany, kMany, kMany, 4});
      begun.world.each(begun.world.all(),
                       [&](std::size_t rank) { EXPECT_TRUE(begun.world[rank].wait(1, begun.world.in(20s))); });
      begun.world.replace({lost[0]});
      EXPECT_TRUE(begun.world.start(lost[0], started));
      EXPECT_TRUE(begun.world[lost[0]].poll());
      begun.world.replace({lost[1]});
      begun.expect_goes_on();
    }
  }
}

TEST(HierarchicalLosses, OfShardsAloneAndWithARank) {
  for (const Ranks& lost : {Ranks{}, Ranks{0}, Ranks{3}}) {
    Begun begun({kMany, kMany, kMany, 4});
    begun.world.each(begun.world.all(),
                     [&](std::size_t rank) { EXPECT_TRUE(begun.world[rank].wait(1, begun.world.in(20s))); });
    begun.world.strike(lost);
    begun.world.mend(lost, {1});
    begun.world.go_on();
    begun.expect_goes_on();
  }
}

/// At any time: the ranks are in the middle of whatever they do.
TEST(HierarchicalLosses, AtRandom) {
  constexpr std::uint64_t kRounds = 25;
#ifdef __SANITIZE_THREAD__  // a round takes some fifteen times as long
  constexpr unsigned kSeeds = 1;
#else
  constexpr unsigned kSeeds = 6;
#endif
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    LossyWorld world({2, 3});
    std::mt19937 random(seed);
    const auto any = [&random](std::size_t below) { return static_cast<std::size_t>(random() % below); };
    for (int loss = 0; loss < 6; ++loss) {
      Ranks lost{any(5)};
      if (any(4) == 0) lost.insert(any(5));
      if (any(6) == 0) lost = world.of_host(static_cast<std::uint32_t>(any(2)));
      const std::set<int> shards = any(4) == 0 ? std::set<int>{static_cast<int>(any(kShards))} : std::set<int>();
      std::jthread killer([&world, &lost, delay = std::chrono::microseconds(any(20'000))] {
        std::this_thread::sleep_for(delay);
        world.strike(lost);
      });
      world.each(world.all(), [&](std::size_t rank) {
        const auto done = world.run(rank, kRounds);
        if (!done) {
          EXPECT_TRUE(done.error().code == Errc::kSuperseded || done.error().code == Errc::kCancelled)
              << done.error().text();
        }
      });
      killer.join();
      Ranks gone = world.mend(lost, shards);
      const std::size_t another = any(5);
      gone.insert(another);
      if (any(3) == 0 && gone != world.all()) {  // somebody has to have the state
        world.strike({another});
        world.mend({another});
      }
      world.go_on();
    }
    world.run_all(kRounds);
  }
}

}  // namespace
}  // namespace tutti::worker
