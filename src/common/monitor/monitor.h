// SPDX-License-Identifier: Apache-2.0
// What the coordinator's process does for those who watch a run: it keeps the board, serves the page, /metrics and the
// state, hands the user's wishes on, and writes the run's history into its folder. On a thread of its own: who looks
// holds nothing up.
// Thread safety: any thread; heard() and happened() never wait.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/control/coordinator.h"
#include "common/control/happening.h"
#include "common/control/report.h"
#include "common/log.h"
#include "common/monitor/run_board.h"
#include "common/result.h"

namespace tutti::monitor {

/// In the run's folder: {"url": "http://127.0.0.1:41234/", "token": "..."}, for its owner only, while the run goes on.
inline constexpr const char* kAddressFile = "monitor.json";
/// In the run's folder: a state (state_json.h) a line.
inline constexpr const char* kHistoryFile = "history.jsonl";

class Monitor {
 public:
  struct Options {
    RunFacts facts;
    std::string folder;  ///< the run's; it is there
    std::string address;
    std::uint16_t port = 0;                         ///< 0: any free one
    std::string host;                               ///< this machine's name
    std::function<Result<>(Wish)> ask;              ///< null: nobody can be asked
    std::function<Coordinator::Figures()> figures;  ///< null: there are none
  };
  /// Errors: kUnavailable where the port is taken; kIo where the folder takes no files.
  static Result<std::unique_ptr<Monitor>> start(Options options, const Clock& clock, Logger log);
  ~Monitor();
  /// Whoever watches gets what there is, then nothing is served any more, and nobody asked. Idempotent.
  void close();

  void heard(const MemberId& from, const Report& report);
  void happened(const Happening& happening);
  /// "http://127.0.0.1:41234/"
  const std::string& url() const noexcept;

 private:
  Monitor();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tutti::monitor
