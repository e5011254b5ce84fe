// SPDX-License-Identifier: Apache-2.0
#include "common/net/loop.h"

namespace tutti {

Loop::Loop() : work_(context_.get_executor()), thread_([this] { context_.run(); }) {}

Loop::~Loop() {
  context_.stop();
  thread_.join();
}

}  // namespace tutti
