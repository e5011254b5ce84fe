// SPDX-License-Identifier: Apache-2.0
// tutti-bench: one rank of a bench. `tutti bench` starts it on every rank; alone it is a world of one.
#include <fmt/core.h>

#include <cstdio>

#include "launch/bench/data_parallel_step.h"
#include "launch/bench/exchange_rounds.h"
#include "launch/bench/guards.h"
#include "launch/bench/limits.h"
#include "launch/bench/options.h"
#include "launch/bench/report.h"
#include "tutti/session.h"

namespace {

using namespace tutti::bench;

/// Rank 0 tells each measurement as soon as it is there where lines are wanted, and all of them at the end otherwise.
class Teller {
 public:
  Teller(bool tells, bool json) : tells_(tells), json_(json) {}
  ~Teller() {
    if (!tells_ || json_ || told_.empty()) return;
    const bool has_head = !takes_turns(told_.front().bench);  // which `tutti bench` has printed over all of them
    fmt::print("{}", has_head ? to_table(told_) : guards_line(told_.front()));
  }
  Teller(const Teller&) = delete;
  Teller& operator=(const Teller&) = delete;

  void tell(Measurement measurement) {
    if (tells_ && json_) {
      fmt::print("{}\n", to_json(measurement));
      std::fflush(stdout);
    }
    told_.push_back(std::move(measurement));
  }

 private:
  const bool tells_, json_;
  std::vector<Measurement> told_;
};

std::vector<std::uint64_t> sizes_of_limits(const Options& options, std::uint64_t model_bytes) {
  return options.bytes.empty() ? std::vector<std::uint64_t>{model_bytes} : options.bytes;
}

void measure(tutti::Session& session, const Options& options) {
  Teller teller(session.rank() == 0, options.json);
  std::uint64_t model_bytes = 0;
  if (options.bench == "step") {
    Measurement step = measure_data_parallel_step(session, options);
    model_bytes = step.bytes;
    teller.tell(std::move(step));
  }
  if (takes_turns(options.bench)) {
    if (auto guards = measure_guards(session, options)) teller.tell(std::move(*guards));
  }
  for (const std::uint64_t bytes : options.bytes) teller.tell(measure_exchange_rounds(session, options, bytes));
  for (const std::string& limit : options.vs) {
    for (const std::uint64_t bytes : sizes_of_limits(options, model_bytes))
      teller.tell(limit == "tcp" ? measure_tcp(session, bytes) : measure_memcpy(session, bytes));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = parse_options({argv + 1, argv + argc});
  if (!options) {
    fmt::print(stderr, "tutti-bench: {}\n", options.error().text());
    return tutti::exit_code(options.error().code);
  }
  tutti::Session session(argc, argv);
  measure(session, *options);
}
