// SPDX-License-Identifier: Apache-2.0
// Failures of the world as values: everything below the public boundary returns Result<T>. A Failure says what happened
// and keeps what it was caused by; `raise` turns it into the public exception of its kind.
// Thread safety: values.
#pragma once

#include <boost/system/result.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tutti/error.h"

namespace tutti {

struct Failure {
  Errc code = Errc::kInternal;
  std::string message;
  std::vector<std::string> causes;  ///< from the nearest to the first

  /// The same failure seen from one level up: `message` is told first, what was there becomes its cause.
  Failure wrap(std::string outer) &&;
  /// "message: cause: cause"
  std::string text() const;
};

template <class T = void>
using Result = boost::system::result<T, Failure>;

inline Failure fail(Errc code, std::string message) {
  return Failure{code, std::move(message), {}};
}
/// A failure of kIo (or the code given) that carries errno's text.
Failure fail_errno(std::string message, int error, Errc code = Errc::kIo);

/// Throws the public exception that stands for `failure`.
[[noreturn]] void raise(const Failure& failure);
[[noreturn]] inline void throw_exception_from_error(const Failure& failure, const boost::source_location&) {
  raise(failure);
}

}  // namespace tutti

/// Leaves the function with the failure of `expression`, if it has one.
#define TUTTI_TRY(expression)                                                                         \
  do {                                                                                                \
    auto&& tutti_try_result = (expression);                                                           \
    if (!tutti_try_result) return std::forward<decltype(tutti_try_result)>(tutti_try_result).error(); \
  } while (false)
