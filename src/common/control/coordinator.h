// SPDX-License-Identifier: Apache-2.0
// The Asio shell of the coordinator's machine: accepts members, feeds their frames to the machine, carries out its
// actions.
// Thread safety: start and destroy from any thread but the loop's; callbacks run on the loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "common/control/coordinator_fsm.h"
#include "common/control/report.h"
#include "common/log.h"
#include "common/net/connection.h"
#include "common/net/loop.h"

namespace tutti {

class Coordinator {
 public:
  struct Options {
    CoordinatorOptions machine;
    Acceptor::Options listen;
    Secret secret;
    JobId job{};
  };
  struct Callbacks {
    std::function<void(const std::string& line)> print;                 ///< a line for the user at the end: the cause
    std::function<void(const std::string& line)> notice;                ///< one for now: who was lost and is replaced
    std::function<void(const Happening&)> happened = {};                ///< for whoever watches
    std::function<void(const MemberId&, const Report&)> reported = {};  ///< by a member, of itself
    std::function<void(int exit_code)> finished;                        ///< the run is over and every member answered
  };
  static Result<std::unique_ptr<Coordinator>> start(Loop& loop, Options options, const Clock& clock, Logger log,
                                                    Callbacks callbacks);
  /// Closes every connection after what was sent is written, and waits for that (2 s at most).
  ~Coordinator();
  Endpoint endpoint() const;
  /// The user wants another number of workers; a notice tells what comes of it.
  void resize(int workers);
  /// The user wants something of the workers. Errors: kUsage, saying why that cannot be now. REQUIRES: not called on
  /// the loop.
  Result<> ask(Wish wish);
  /// What it counts, at this moment.
  struct Figures {
    std::uint64_t refused_handshakes = 0;  ///< connections that did not prove the secret, or did not speak the protocol
    std::uint64_t stale_frames = 0;        ///< of an older generation, which were dropped
    std::map<MemberId, std::uint64_t> steps = {};  ///< of the workers, as each told it last
  };
  /// REQUIRES: not called on the loop.
  Figures figures() const;
  /// That the run has outlived.
  std::vector<int> lost_agents() const;

 private:
  Coordinator();
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tutti
