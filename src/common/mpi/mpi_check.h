// SPDX-License-Identifier: Apache-2.0
// What an MPI call answered, as a Result in MPI's own words. Private to the sources that call MPI.
// Thread safety: a function without state.
#pragma once

#include <mpi.h>

#include <string>

#include "common/result.h"

namespace tutti {

inline Result<> check_mpi(int status, const char* what) {
  if (status == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(status, text, &length);
  return fail(Errc::kCollective, std::string(what) + ": " + std::string(text, static_cast<std::size_t>(length)));
}

}  // namespace tutti
