// SPDX-License-Identifier: Apache-2.0
#include "worker/agent_watch.h"

#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>

#include "tutti/error.h"

namespace tutti::worker {

void watch_agent(Loop& loop, int fd) {
  auto descriptor = std::make_shared<boost::asio::posix::stream_descriptor>(loop.context(), fd);
  boost::asio::posix::stream_descriptor& watched = *descriptor;
  watched.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                     [descriptor](const boost::system::error_code& error) {
                       // An agent says nothing after the bootstrap: what can be read is the end.
                       if (!error) ::_exit(exit_code(Errc::kUnavailable));
                     });
}

}  // namespace tutti::worker
