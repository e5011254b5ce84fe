// SPDX-License-Identifier: Apache-2.0
// What members, agents and the coordinator say to each other, and what an agent tells its child.
#include "common/bootstrap.h"
#include "common/control/messages.h"
#include "tests/fuzz/message_target.h"
#include "worker/parameter_table.h"

namespace tutti::fuzz {
namespace {

void check_bootstrap(std::span<const std::byte> bytes) {
  const auto bootstrap = decode_bootstrap({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!bootstrap) return;
  expect_same_bytes(encode(*bootstrap), bytes);
  accept();
}

constexpr auto kChecks = std::to_array<MessageCheck>({
    check_message<Join>,
    check_message<Contribute>,
    check_message<StoreRequest>,
    check_message<Leave>,
    check_message<Reply>,
    check_message<Abort>,
    check_message<ChildExited>,
    check_message<Shutdown>,
    check_message<Regroup>,
    check_message<Restart>,
    check_message<Start>,
    check_message<Evict>,
    check_bootstrap,
    check_message<worker::ParameterTable>,
    check_message<Heartbeat>,
    check_message<Lease>,
    check_message<Unreachable>,
    check_message<ClockQuestion>,
    check_message<ClockAnswer>,
});

}  // namespace
}  // namespace tutti::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tutti::fuzz::run_message_target(tutti::fuzz::kChecks, data, size);
  return 0;
}
