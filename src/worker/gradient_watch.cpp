// SPDX-License-Identifier: Apache-2.0
#include "worker/gradient_watch.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "worker/backward_scope.h"
#include "worker/tensor_numbers.h"

namespace tutti::worker {
namespace {

constexpr std::int64_t kPieceMax = 4 << 20;  // elements that come from another device at once

/// The numbers of a gradient in one row, in whatever order, and how many more of them are zeros.
struct Row {
  at::Tensor numbers;
  std::uint64_t zeros = 0;
};

Row row_of(const at::Tensor& gradient) {
  at::Tensor numbers = gradient.detach();
  if (numbers.layout() == at::kSparse)
    numbers = numbers.coalesce().values();
  else if (numbers.layout() != at::kStrided)
    numbers = numbers.to_dense();
  const auto zeros = static_cast<std::uint64_t>(gradient.numel() - numbers.numel());
  if (numbers.is_complex()) numbers = at::view_as_real(numbers.resolve_conj());
  constexpr at::ScalarType kinds[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf};
  if (std::ranges::count(kinds, numbers.scalar_type()) == 0) numbers = numbers.to(at::kFloat);
  if (numbers.is_non_overlapping_and_dense()) return {numbers.as_strided({numbers.numel()}, {1}), zeros};
  return {numbers.contiguous().view({-1}), zeros};
}

DType dtype_of_row(const at::Tensor& row) {
  return dtype_of(row, "a gradient");
}

/// Calls `f(dtype, bytes, elements)` with the row's pieces.
template <class F>
void for_each_piece(const at::Tensor& row, const F& f) {
  const std::int64_t size = row.is_cpu() ? row.numel() : kPieceMax;
  for (std::int64_t begin = 0; begin < row.numel(); begin += size) {
    const at::Tensor piece = row.narrow(0, begin, std::min(size, row.numel() - begin)).cpu();
    f(dtype_of_row(piece), static_cast<const std::byte*>(piece.const_data_ptr()),
      static_cast<std::size_t>(piece.numel()));
  }
}

Distribution distribution_of(const at::Tensor& gradient) {
  const Row row = row_of(gradient);
  DistributionOf distribution;
  distribution.measure_zeros(row.zeros);
  for_each_piece(row.numbers, [&](auto... piece) { distribution.measure(piece...); });
  for_each_piece(row.numbers, [&](auto... piece) { distribution.count(piece...); });
  return distribution.finish();
}

/// There, without waiting for it. In the kind that takes no memory for a converted copy.
at::Tensor norm_on_device(const at::Tensor& row) {
  const at::ScalarType kind = row.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::linalg_vector_norm(row, 2, std::nullopt, false, kind).to(at::kDouble);
}

}  // namespace

/// Fires when autograd has accumulated into a parameter's gradient.
class GradientWatch::Hook final : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit Hook(GradientWatch& watch) : watch_(watch) {}
  void operator()(const at::Tensor&) override { watch_.on_gradient(); }
  bool is_of(const GradientWatch& watch) const noexcept { return &watch_ == &watch; }

 private:
  GradientWatch& watch_;
};

GradientWatch::GradientWatch(std::vector<NamedTensor> parameters, bool follows_backward)
    : parameters_(std::move(parameters)),
      follows_backward_(follows_backward),
      alive_(std::make_shared<GradientWatch*>(this)) {}

GradientWatch::~GradientWatch() {
  remove_hooks();
}

// One hook would do, if it were known which parameter gets a gradient. A hook of the program's own stays.
void GradientWatch::set_hooks() {
  has_hooks_ = true;
  for (const NamedTensor& parameter : parameters_) {
    if (torch::autograd::impl::post_acc_grad_hooks(parameter.tensor)) continue;
    torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, std::make_unique<Hook>(*this));
  }
}

void GradientWatch::remove_hooks() noexcept {
  if (!std::exchange(has_hooks_, false)) return;
  for (const NamedTensor& parameter : parameters_) {
    const auto& hook = torch::autograd::impl::post_acc_grad_hooks(parameter.tensor);
    const auto* own = dynamic_cast<const Hook*>(hook.get());
    if (own != nullptr && own->is_of(*this)) torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
  }
}

void GradientWatch::begin(GradientQuestions asked) {
  asked_ = asked;
  numbers_.reset();
  if (follows_backward_ && asked_.any()) set_hooks();
}

void GradientWatch::on_gradient() {
  if (follows_.exchange(true)) return;
  const std::weak_ptr<GradientWatch*> alive = alive_;
  const auto ended = [alive](bool well) {
    const auto watch = alive.lock();
    if (watch == nullptr) return;
    (*watch)->follows_ = false;
    if (well) (*watch)->read();
  };
  at_end_of_backward([ended] { ended(true); }, [ended] { ended(false); });
}

void GradientWatch::read() {
  if (!asked_.any()) return;
  const at::NoGradGuard no_grad;
  numbers_.reset();
  GradientNumbers numbers;
  const TimePoint began = clock_.now();
  if (asked_.norm) numbers.norm = norm();
  numbers.norm_took = clock_.now() - began;
  for (const auto& [name, tensor] : parameters_) {
    if (asked_.distributions && tensor.grad().defined())
      numbers.distributions.emplace_back(name, distribution_of(tensor.grad()));
  }
  if (numbers.norm || !numbers.distributions.empty()) numbers_ = std::move(numbers);
}

std::optional<GradientNumbers> GradientWatch::take() {
  remove_hooks();
  asked_ = {};
  return std::exchange(numbers_, std::nullopt);
}

std::optional<double> GradientWatch::norm() const {
  bool any = false;
  double squares = 0;
  std::vector<at::Tensor> elsewhere;
  for (const NamedTensor& parameter : parameters_) {
    const at::Tensor& gradient = parameter.tensor.grad();
    if (!gradient.defined()) continue;
    any = true;
    const at::Tensor row = row_of(gradient).numbers;
    if (row.is_cpu())
      squares += sum_of_squares(dtype_of_row(row), static_cast<const std::byte*>(row.const_data_ptr()),
                                static_cast<std::size_t>(row.numel()));
    else
      elsewhere.push_back(norm_on_device(row));
  }
  if (!any) return std::nullopt;
  for (at::Tensor& one : elsewhere) one = one.to(elsewhere.front().device());
  if (!elsewhere.empty()) squares += at::stack(elsewhere).square().sum().item<double>();
  return std::sqrt(squares);
}

}  // namespace tutti::worker
