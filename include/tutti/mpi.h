// SPDX-License-Identifier: Apache-2.0
// For programs that use MPI themselves: `tutti::Session session(comm)`. In a header of its own, so that nobody else
// needs mpi.h. Thread safety: values.
#pragma once

#include <mpi.h>

#include "tutti/session.h"

namespace tutti {

/// A communicator as tutti takes it: by its Fortran handle, an int in every MPI.
class MpiCommunicator {
 public:
  MpiCommunicator(MPI_Comm communicator) : handle_(MPI_Comm_c2f(communicator)) {}  // implicit: that is its purpose
  int fortran_handle() const noexcept { return handle_; }

 private:
  int handle_;
};

}  // namespace tutti
