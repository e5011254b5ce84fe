// SPDX-License-Identifier: Apache-2.0
// The exceptions that cross tutti's public boundary. Inside the library failures travel as values (common/result.h);
// each becomes exactly one of these where a user's thread is waiting.
// Thread safety: values; copy and throw them anywhere.
#pragma once

#include <string>
#include <system_error>

namespace tutti {

/// What went wrong, by who can mend it. The text of the error names the rank, the host and the step.
enum class Errc {
  kTimeout = 1,     ///< a deadline passed
  kPeerLost,        ///< another process of the run died or cannot be reached
  kProtocol,        ///< a frame that no tutti of this version sends
  kAuthentication,  ///< a peer did not prove the job's secret
  kMismatch,        ///< ranks disagree on model, configuration or version
  kIo,              ///< a file or disk
  kUnavailable,     ///< a port, host or program that is needed is not to be had
  kCollective,      ///< MPI, Gloo or NCCL reported a failure
  kCancelled,       ///< given up because the run is ending
  kSuperseded,      ///< the run has moved on to a new generation; tutti answers it, a program never sees it
  kBadData,         ///< input that is missing, torn or not of its format; a gradient that is not a number
  kConfig,          ///< a configuration key or value
  kUsage,           ///< a call that the library does not allow there
  kInternal,        ///< a bug of tutti's
};

const std::error_category& error_category() noexcept;
inline std::error_code make_error_code(Errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

/// The exit code of a process that ends because of `code`: 64 usage, 65 data, 69 unavailable, 70 bug, 74 I/O, 77
/// authentication, 78 mismatch. A program that lets tutti::Error reach its main gets it from there.
int exit_code(Errc code) noexcept;

class Error : public std::system_error {
 public:
  Error(Errc code, const std::string& what) : std::system_error(make_error_code(code)), code_(code), what_(what) {}
  const char* what() const noexcept override { return what_.c_str(); }
  Errc errc() const noexcept { return code_; }
  int exit_code() const noexcept { return tutti::exit_code(code_); }

 private:
  Errc code_;
  std::string what_;
};

#define TUTTI_ERROR_TYPE(Type, code)                              \
  class Type : public Error {                                     \
   public:                                                        \
    explicit Type(const std::string& what) : Error(code, what) {} \
  };
TUTTI_ERROR_TYPE(Timeout, Errc::kTimeout)
TUTTI_ERROR_TYPE(PeerLost, Errc::kPeerLost)
TUTTI_ERROR_TYPE(ProtocolError, Errc::kProtocol)
TUTTI_ERROR_TYPE(AuthenticationError, Errc::kAuthentication)
TUTTI_ERROR_TYPE(MismatchError, Errc::kMismatch)
TUTTI_ERROR_TYPE(IoError, Errc::kIo)
TUTTI_ERROR_TYPE(CollectiveError, Errc::kCollective)
TUTTI_ERROR_TYPE(DataError, Errc::kBadData)
TUTTI_ERROR_TYPE(ConfigError, Errc::kConfig)
TUTTI_ERROR_TYPE(UsageError, Errc::kUsage)
#undef TUTTI_ERROR_TYPE

}  // namespace tutti

template <>
struct std::is_error_code_enum<tutti::Errc> : std::true_type {};
