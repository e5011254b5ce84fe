// SPDX-License-Identifier: Apache-2.0
// The elements of a bucket as MPI sees them. bfloat16 and float16, which MPI does not know, are sent as integers of
// their size and added in float32 by an operation of our own. Private to the MPI exchange. Thread safety: functions
// without state.
#pragma once

#include <mpi.h>

#include "common/dtype.h"

namespace tutti::worker {

MPI_Datatype mpi_type(DType dtype) noexcept;

/// The operation that adds two elements of a kind..
class MpiSum {
 public:
  /// REQUIRES: MPI is initialised.
  explicit MpiSum(DType dtype);
  ~MpiSum();
  MpiSum(MpiSum&& other) noexcept;
  MpiSum& operator=(MpiSum&&) = delete;
  MPI_Op get() const noexcept { return op_; }

 private:
  MPI_Op op_ = MPI_SUM;
  bool owned_ = false;
};

}  // namespace tutti::worker
