// SPDX-License-Identifier: Apache-2.0
#include "common/result.h"

namespace tutti {

Failure Failure::wrap(std::string outer) && {
  causes.insert(causes.begin(), std::move(message));
  return Failure{code, std::move(outer), std::move(causes)};
}

std::string Failure::text() const {
  std::string text = message;
  for (const std::string& cause : causes) text += ": " + cause;
  return text;
}

Failure fail_errno(std::string message, int error, Errc code) {
  return Failure{code, std::move(message), {std::system_category().message(error)}};
}

void raise(const Failure& failure) {
  switch (failure.code) {
    case Errc::kTimeout:
      throw Timeout(failure.text());
    case Errc::kPeerLost:
      throw PeerLost(failure.text());
    case Errc::kProtocol:
      throw ProtocolError(failure.text());
    case Errc::kAuthentication:
      throw AuthenticationError(failure.text());
    case Errc::kMismatch:
      throw MismatchError(failure.text());
    case Errc::kIo:
      throw IoError(failure.text());
    case Errc::kCollective:
      throw CollectiveError(failure.text());
    case Errc::kBadData:
      throw DataError(failure.text());
    case Errc::kConfig:
      throw ConfigError(failure.text());
    case Errc::kUsage:
      throw UsageError(failure.text());
    case Errc::kUnavailable:
    case Errc::kCancelled:
    case Errc::kSuperseded:
    case Errc::kInternal:
      break;
  }
  throw Error(failure.code, failure.text());
}

}  // namespace tutti
