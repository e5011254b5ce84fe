// SPDX-License-Identifier: Apache-2.0
#include "tutti/error.h"

namespace tutti {
namespace {

class Category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "tutti"; }
  std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::kTimeout:
        return "a deadline passed";
      case Errc::kPeerLost:
        return "another process of the run is lost";
      case Errc::kProtocol:
        return "a peer does not speak this version's protocol";
      case Errc::kAuthentication:
        return "a peer did not prove the job's secret";
      case Errc::kMismatch:
        return "the ranks disagree";
      case Errc::kIo:
        return "input or output failed";
      case Errc::kUnavailable:
        return "something that is needed is not to be had";
      case Errc::kCollective:
        return "a collective library failed";
      case Errc::kCancelled:
        return "given up because the run is ending";
      case Errc::kSuperseded:
        return "the run has moved on to a new generation";
      case Errc::kBadData:
        return "bad data";
      case Errc::kConfig:
        return "bad configuration";
      case Errc::kUsage:
        return "a call that is not allowed here";
      case Errc::kInternal:
        return "a bug in tutti";
    }
    return "unknown error " + std::to_string(value);
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  static const Category category;
  return category;
}

int exit_code(Errc code) noexcept {
  switch (code) {
    case Errc::kUsage:
    case Errc::kConfig:
      return 64;
    case Errc::kBadData:
      return 65;
    case Errc::kTimeout:
    case Errc::kPeerLost:
    case Errc::kProtocol:
    case Errc::kUnavailable:
    case Errc::kCollective:
    case Errc::kCancelled:
    case Errc::kSuperseded:
      return 69;
    case Errc::kInternal:
      return 70;
    case Errc::kIo:
      return 74;
    case Errc::kAuthentication:
      return 77;
    case Errc::kMismatch:
      return 78;
  }
  return 70;
}

}  // namespace tutti
