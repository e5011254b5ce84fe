// SPDX-License-Identifier: Apache-2.0
// The network of a simulated world. It carries connections as TCP does: bytes arrive once and in order until the
// connection is cut. So the ranges of faults mean here:
//   loss         a segment that is lost arrives later: after 0.2, 0.6, 1.4 s and so on, as it is sent again, and all
//   that
//                follows on its connection with it
//   repeats      TCP drops a segment that comes twice. What is repeated is a push: by a rank whose connection was cut
//                before the answer (exchange_client.h)
//   clogged      a path that takes up to 5 s more, for a while
//   partition    nothing passes between two hosts, both ways or one way; what was sent stands still until it has
//   healed.
//                It is of what goes to and from the coordinator, of what ranks and shards exchange, or of both
//   cut          the connection ends on both sides, and of what was on its way a part is lost, in the middle of a frame
//                as anywhere. A process that is killed cuts all of its connections
//   flip         one bit of a segment: what TCP's own checksum lets through
// Processes of one host reach each other at once, without faults but cuts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "common/result.h"
#include "tests/sim/process.h"

namespace tutti::sim {

using Port = int;

/// What a connection carries: to and from the coordinator, or between ranks and shards.
enum class Plane { kControl, kData };

class Network {
 public:
  /// One end of a connection.
  struct End {
    int pipe = 0;
    int side = 0;
  };
  /// Who is told what happens at one end.
  class Receiver {
   public:
    virtual ~Receiver() = default;
    virtual void on_connected(End end) = 0;
    virtual void on_bytes(std::span<const std::byte> bytes) = 0;
    virtual void on_cut(const Failure& why) = 0;
  };
  /// Takes the accepting end, and says who receives there.
  using OnAccept = std::function<std::shared_ptr<Receiver>(End)>;

  explicit Network(World& world) : world_(world) {}

  void listen(Process& process, Port port, OnAccept on_accept);
  void stop_listening(Port port) { listeners_.erase(port); }
  /// The receiver is told when it is connected, or that nobody listens there.
  void connect(Process& from, Port to, const std::shared_ptr<Receiver>& receiver);
  void send(End from, std::vector<std::byte> bytes);
  /// The other side gets what was sent before, then the end.
  void close(End end);
  /// What a fault of the network does.
  void cut(End end);
  /// The process is dead: its connections are cut.
  void abandon(const Process& process);

  void block(int from_host, int to_host, Plane plane, TimePoint until);
  void clog(int from_host, int to_host, Duration by, TimePoint until);
  /// Some connection between hosts; false: there is none.
  bool cut_one();
  bool flip_one();

 private:
  struct Segment {
    std::vector<std::byte> bytes;
    bool is_end = false;
  };
  struct Direction {  // to one side
    std::deque<Segment> on_its_way;
    TimePoint last{};  // nothing overtakes
    bool ended = false;
  };
  struct Side {
    Process::Id process = 0;
    int host = 0;
    std::weak_ptr<Receiver> receiver;
    Direction incoming;
    bool has_left = false;  // it has closed it, was told the end, or is dead
  };
  struct Pipe {
    Side sides[2];
    Plane plane{};
    TimePoint since{};
  };
  struct Listener {
    Process::Id process;
    int host;
    OnAccept on_accept;
  };
  struct Path {
    TimePoint blocked_until{}, clogged_until{};
    Duration clogged_by{};
  };

  void knock(Process::Id from, int from_host, Port to, const std::shared_ptr<Receiver>& receiver);
  void answer(Process::Id process, Duration delay, std::function<void()> f);
  void push(int pipe, int side, Segment segment);
  void arrive(int pipe, int side);
  void leave(int pipe, int side);
  void lose_tail(Direction& direction);
  Duration delay(int from_host, int to_host, Plane plane);
  std::vector<int> pipes_between_hosts(bool with_bytes) const;

  World& world_;
  std::map<Port, Listener> listeners_;
  std::map<int, Pipe> pipes_;
  std::map<std::tuple<int, int, Plane>, Path> paths_;
  int next_pipe_ = 1;
};

}  // namespace tutti::sim
