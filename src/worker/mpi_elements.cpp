// SPDX-License-Identifier: Apache-2.0
#include "worker/mpi_elements.h"

#include <cstdint>
#include <utility>

#include "ps/half.h"

namespace tutti::worker {
namespace {

using Widen = float (*)(std::uint16_t) noexcept;
using Narrow = std::uint16_t (*)(float) noexcept;

template <Widen widen, Narrow narrow>
void add_halves(void* in, void* inout, int* length, MPI_Datatype*) {
  const auto* from = static_cast<const std::uint16_t*>(in);
  auto* sum = static_cast<std::uint16_t*>(inout);
  for (int i = 0; i < *length; ++i) sum[i] = narrow(widen(sum[i]) + widen(from[i]));
}

MPI_User_function* adding(DType dtype) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      return add_halves<ps::float_from_bfloat16, ps::bfloat16_from_float>;
    case DType::kFloat16:
      return add_halves<ps::float_from_float16, ps::float16_from_float>;
    default:
      return nullptr;
  }
}

}  // namespace

MPI_Datatype mpi_type(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat32:
      return MPI_FLOAT;
    case DType::kFloat64:
      return MPI_DOUBLE;
    case DType::kBFloat16:
    case DType::kFloat16:
      return MPI_UINT16_T;
    case DType::kInt64:
      return MPI_INT64_T;
    case DType::kInt32:
      return MPI_INT32_T;
    case DType::kInt16:
      return MPI_INT16_T;
    case DType::kInt8:
      return MPI_INT8_T;
    case DType::kUInt8:
      return MPI_UINT8_T;
    case DType::kBool:
      return MPI_C_BOOL;
  }
  return MPI_DATATYPE_NULL;
}

MpiSum::MpiSum(DType dtype) : op_(dtype == DType::kBool ? MPI_LOR : MPI_SUM) {
  if (MPI_User_function* add = adding(dtype)) owned_ = MPI_Op_create(add, /*commute=*/1, &op_) == MPI_SUCCESS;
}
MpiSum::MpiSum(MpiSum&& other) noexcept : op_(other.op_), owned_(std::exchange(other.owned_, false)) {}
MpiSum::~MpiSum() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (owned_ && finalized == 0) MPI_Op_free(&op_);
}

}  // namespace tutti::worker
