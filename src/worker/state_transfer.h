// SPDX-License-Identifier: Apache-2.0
// A survivor's state on its way to the processes that take the places of lost ones: bytes, from one rank straight to
// another over a connection of their own, which both prove like any other. What the bytes mean is snapshot.h's.
//   kState      donor -> newcomer   control: StateHead; no payload
//   kStatePart  donor -> newcomer   payload: the next bytes
//   kStateTaken newcomer -> donor   everything has arrived
// Thread safety: made, waited for and destroyed on any thread but the loop's; interrupt() from any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/log.h"
#include "common/net/connection.h"
#include "common/net/loop.h"
#include "common/result.h"

namespace tutti::worker {

/// How much follows.
struct StateHead {
  std::uint64_t bytes = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(bytes);
  }
};

/// Gives the state to whoever proves to be one of the newcomers of this generation.
class StateDonor {
 public:
  /// `parts` follow each other; what they point to stays as it is until the donor is destroyed.
  static Result<std::unique_ptr<StateDonor>> start(Loop& loop, const std::string& address, Credentials credentials,
                                                   std::vector<int> newcomers,
                                                   std::vector<std::span<const std::byte>> parts, const Clock& clock,
                                                   Logger log);
  ~StateDonor();
  Endpoint endpoint() const;
  /// Until every newcomer has all of it. Errors: kTimeout, kSuperseded after interrupt().
  Result<> wait(Deadline deadline);
  void interrupt();

 private:
  StateDonor();
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// A newcomer's side.
class StateReceiver {
 public:
  struct State {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
  };
  /// Begins to connect and to receive; at most `bytes_max` are accepted.
  static std::unique_ptr<StateReceiver> start(Loop& loop, const Endpoint& donor, Credentials credentials,
                                              std::uint64_t bytes_max, Duration timeout);
  ~StateReceiver();
  /// Errors: kTimeout, kPeerLost, kProtocol, those of the handshake, kSuperseded after interrupt().
  Result<State> wait(Deadline deadline);
  void interrupt();

 private:
  StateReceiver();
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tutti::worker
