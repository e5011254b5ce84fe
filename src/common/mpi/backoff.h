// SPDX-License-Identifier: Apache-2.0
// How a thread waits for MPI, which can only be asked again and again: it spins for what takes microseconds, then gives
// its core to whoever has work, then sleeps, so that ranks which share cores do not starve the one they wait for.
// Thread safety: owned by one thread; one for each wait.
#pragma once

#include <sched.h>
#include <time.h>

namespace tutti {

class Backoff {
 public:
  void pause() noexcept {
    constexpr int kSpins = 200, kYields = 2000;
    constexpr timespec kNap = {0, 50'000};
    ++pauses_;
    if (pauses_ > kSpins + kYields) {
      nanosleep(&kNap, nullptr);
    } else if (pauses_ > kSpins) {
      sched_yield();
    }
  }

 private:
  int pauses_ = 0;
};

}  // namespace tutti
