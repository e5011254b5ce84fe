// SPDX-License-Identifier: Apache-2.0
// The Asio shell of the coordinator's machine: accepts members, feeds their frames to the machine, carries out its
// actions.
// Thread safety: start and destroy from any thread but the loop's; callbacks run on the loop.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "common/control/coordinator_fsm.h"
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
    std::function<void(const std::string& line)> print;   ///< a line for the user at the end: the cause
    std::function<void(const std::string& line)> notice;  ///< one for now: who was lost and is replaced
    std::function<void(int exit_code)> finished;          ///< the run is over and every member answered
  };
  static Result<std::unique_ptr<Coordinator>> start(Loop& loop, Options options, const Clock& clock, Logger log,
                                                    Callbacks callbacks);
  /// Closes every connection after what was sent is written, and waits for that (2 s at most).
  ~Coordinator();
  Endpoint endpoint() const;
  /// The user wants another number of workers; a notice tells what comes of it.
  void resize(int workers);
  /// That the run has outlived.
  std::vector<int> lost_agents() const;

 private:
  Coordinator();
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tutti
