// SPDX-License-Identifier: Apache-2.0
#include "worker/reducer.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <utility>

#include "tutti/error.h"
#include "worker/backward_scope.h"

namespace tutti::worker {
namespace {

std::vector<at::Tensor> tensors_of(const std::vector<NamedTensor>& named) {
  std::vector<at::Tensor> tensors;
  for (const NamedTensor& entry : named) tensors.push_back(entry.tensor);
  return tensors;
}

std::vector<PlannedParameter> to_plan(const std::vector<NamedTensor>& named) {
  std::vector<PlannedParameter> planned;
  for (const auto& [name, tensor] : named) {
    const DType dtype = dtype_of(tensor, fmt::format("parameter \"{}\"", name));
    planned.push_back(
        {name, dtype, tensor.is_cuda() ? tensor.get_device() : -1, static_cast<std::uint64_t>(tensor.numel())});
  }
  return planned;
}

}  // namespace

/// Fires when autograd has accumulated into a parameter's gradient.
class Reducer::Hook final : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(Reducer& reducer, std::size_t parameter) : reducer_(reducer), parameter_(parameter) {}
  void operator()(const at::Tensor&) override { reducer_.on_gradient(parameter_); }

 private:
  Reducer& reducer_;
  const std::size_t parameter_;
};

Reducer::Reducer(std::vector<NamedTensor> parameters, std::vector<NamedTensor> buffers, Exchange& exchange,
                 BackwardScope& scope, ReducerOptions options, EventSink& events, const Clock& clock, Logger log)
    : planned_(to_plan(parameters)),
      tensors_(tensors_of(parameters)),
      exchange_(exchange),
      scope_(scope),
      options_(std::move(options)),
      events_(events),
      clock_(clock),
      log_(std::move(log)),
      buffers_(tensors_of(buffers)),
      nan_guard_(options_.nan_policy) {
  for (auto& [name, tensor] : parameters) {
    parameters_.push_back({std::move(name), tensor, tensor.const_data_ptr(), 0, std::nullopt, false, false});
  }
  exchange_.on_bucket_done([this](std::uint32_t bucket) { record(EventKind::kBucketDone, bucket); });
  set_hooks();
}

Reducer::~Reducer() {
  exchange_.on_bucket_done(nullptr);
  remove_hooks();
  scope_.forget(*this);
}

void Reducer::set_hooks() {
  for (const Parameter& parameter : parameters_) {
    if (!torch::autograd::impl::post_acc_grad_hooks(parameter.tensor)) continue;
    throw UsageError(
        fmt::format("parameter \"{}\" has a gradient hook already: the module was wrapped twice, or a hook of the "
                    "program's own would be lost",
                    parameter.name));
  }
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[p].tensor, std::make_unique<Hook>(*this, p));
  }
}

void Reducer::remove_hooks() noexcept {
  for (const Parameter& parameter : parameters_)
    torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
}

Result<> Reducer::open(Deadline deadline) {
  buffers_.keep();
  return lay_out(reverse_order(parameters_.size()), deadline);
}

ExchangePlan Reducer::describe(const std::vector<Bucket>& buckets) const {
  ExchangePlan plan{options_.object, plans_, {}, {}};
  for (const Bucket& bucket : buckets) plan.buckets.push_back({bucket.dtype, options_.reduction, bucket.elements});
  plan.buckets.push_back({kVoteDType, Reduction::kSum, parameters_.size() + votes_in(options_.world_size)});
  for (std::size_t b = 0; b < buffers_.size(); ++b) plan.buckets.push_back(buffers_.spec(b));
  plan.looks_for_nan = nan_guard_.looks() && exchange_.traits().looks_for_nan;
  return plan;
}

ReducerProgress Reducer::progress() const {
  return {
      order_, plans_ - 1, exchanges_, exchanges_ - exchanges_before_plan_, made_again_, nan_guard_.skipped_in_a_row()};
}

Result<> Reducer::open_as(const ReducerProgress& progress, const Succession& succession, Deadline deadline) {
  plans_ = progress.plan;
  TUTTI_TRY(lay_out(progress.order, deadline));
  settled_ = true;
  exchanges_ = progress.exchanges;
  exchanges_before_plan_ = progress.exchanges - progress.rounds;
  made_again_ = progress.made_again;
  nan_guard_.go_on_after(progress.skipped_in_a_row);
  exchange_.take_over(progress.rounds, succession);
  return {};
}

Result<> Reducer::lay_out(std::vector<std::uint32_t> ready_order, Deadline deadline) {
  order_ = std::move(ready_order);
  exchanges_before_plan_ = exchanges_;
  std::vector<Bucket> buckets = plan_buckets(planned_, order_, options_.limits);
  const std::size_t count = buckets.size();
  ExchangePlan plan = describe(buckets);
  if (options_.born_in_place) plan_birthplaces(plan, buckets);
  auto places = exchange_.place(plan, deadline);
  TUTTI_TRY(places);
  if (places->empty()) places->resize(plan.buckets.size());  // LibTorch's own memory will do

  offer_birthplaces(plan);

  auto laid_out = std::make_unique<GradientBuckets>(std::move(buckets), tensors_, std::span(*places).first(count));
  if (buckets_) move_gradients(*laid_out);
  buckets_ = std::move(laid_out);
  presence_ =
      flat_tensor(parameters_.size() + votes_in(options_.world_size), scalar_type_of(kVoteDType), (*places)[count]);
  buffers_.move_to(std::span(*places).subspan(count + 1));
  for (std::size_t b = 0; b < count; ++b) plan.memory.push_back(buckets_->memory(b));
  plan.memory.push_back(static_cast<std::byte*>(presence_.mutable_data_ptr()));
  for (std::size_t b = 0; b < buffers_.size(); ++b) plan.memory.push_back(buffers_.memory(b));

  for (std::size_t p = 0; p < parameters_.size(); ++p) parameters_[p].bucket = buckets_->bucket_of(p);
  missing_.resize(count);
  ++plans_;
  reset();
  return exchange_.open(std::move(plan), deadline);
}

void Reducer::move_gradients(GradientBuckets& to) {
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    at::Tensor& gradient = tensors_[p].mutable_grad();
    if (!gradient.is_same(buckets_->gradient(p))) continue;
    to.take(p, gradient);
    gradient = to.gradient(p);
  }
}

void Reducer::plan_birthplaces(ExchangePlan& plan, const std::vector<Bucket>& buckets) {
  for (std::uint32_t b = 0; b < buckets.size(); ++b) {
    const std::uint64_t size = size_of(buckets[b].dtype);
    for (const BucketEntry& entry : buckets[b].entries) {
      const bool is_large = entry.elements * size >= Birthplaces::kBytesMin;
      std::optional<std::uint32_t>& range = parameters_[entry.parameter].range;
      range = is_large ? std::optional(static_cast<std::uint32_t>(plan.ranges.size())) : std::nullopt;
      if (is_large) plan.ranges.push_back({b, entry.offset * size, entry.elements * size});
    }
  }
}

void Reducer::offer_birthplaces(const ExchangePlan& plan) {
  allocates_.reset();
  births_.reset();
  if (plan.ranges.empty()) return;
  std::vector<Birthplaces::Place> places;
  for (BucketMemory& spare : exchange_.spares()) places.push_back({std::move(spare), plan.ranges[places.size()].bytes});
  if (places.empty()) return;
  births_ = std::make_shared<Birthplaces>(places);
  allocates_ = std::make_unique<AllocateIn>(births_);
}

// The exchange writes its result over the gradient: nobody else may look into that memory, be it as the same tensor
// (a graph that saved it), be it through a view (another gradient).
bool Reducer::may_stay(std::size_t p, const at::Tensor& gradient) const {
  if (!births_ || !parameters_[p].range || !births_->contains(gradient.const_data_ptr())) return false;
  const at::Tensor& place = buckets_->gradient(p);
  return !gradient.requires_grad() && gradient.use_count() == 1 && gradient.storage().use_count() == 1 &&
         gradient.storage_offset() == 0 && gradient.scalar_type() == place.scalar_type() &&
         gradient.sizes() == place.sizes() && gradient.strides() == place.strides();
}

// Throws where the machine has no memory for the range: writing there would end the process.
void Reducer::use_bucket(std::size_t p) {
  if (!births_ || !parameters_[p].range) return;
  if (auto used = exchange_.use_bucket(*parameters_[p].range); !used) raise(used.error());
}

void Reducer::tell_where(std::size_t p, const at::Tensor& gradient) {
  if (births_ && parameters_[p].range) {
    exchange_.lies_at(*parameters_[p].range, static_cast<std::byte*>(gradient.mutable_data_ptr()));
  }
}

Result<> Reducer::lay_out_anew(Deadline deadline) {
  std::vector<bool> came(parameters_.size(), false);
  for (const std::uint32_t p : measured_) came[p] = true;
  for (const std::uint32_t p : reverse_order(parameters_.size())) {
    if (!came[p]) measured_.push_back(p);
  }
  auto agreed = options_.agree_on_order(std::move(measured_), deadline);
  TUTTI_TRY(agreed);
  if (*agreed == reverse_order(parameters_.size())) return {};
  return lay_out(*agreed, deadline);
}

Result<> Reducer::settle(const std::vector<std::uint32_t>& ready_order, Deadline deadline) {
  if (exchanges_ > 0) return {};
  if (!is_order_of(ready_order, parameters_.size())) {
    return fail(Errc::kBadData, fmt::format("{}: an order of {} parameters is none of its {}", options_.name,
                                            ready_order.size(), parameters_.size()));
  }
  settled_ = true;
  return ready_order == order_ ? Result<>() : lay_out(ready_order, deadline);
}

void Reducer::begin_step(std::uint64_t step) noexcept {
  stepped_by_iteration_ = true;
  id_ = {step + made_again_, 0};
  keep_buffers();
}

void Reducer::accept_moved_parameters() {
  if (exchanges_ > 0) throw UsageError("the model's parameters were loaded or moved after the first step");
  for (Parameter& parameter : parameters_) parameter.data = parameter.tensor.const_data_ptr();
}

void Reducer::on_gradient(std::size_t p) {
  if (!exchanging_) return;
  scope_.enter(*this);
  if (!active_) {
    active_ = true;
    if (births_) births_->open();
    record(EventKind::kBackwardFirstHook);
  }
  Parameter& parameter = parameters_[p];
  check_unchanged(parameter);
  if (parameter.ready && parameter.bucket < next_to_start_) {
    throw UsageError(fmt::format(
        "parameter \"{}\" got a second gradient in one backward after its bucket was sent, as when it is used "
        "both inside and outside a checkpointed part; construct DataParallel with overlap(false)",
        parameter.name));
  }
  if (exchanges_ == 0 && !parameter.ready) measured_.push_back(static_cast<std::uint32_t>(p));
  put_into_bucket(p);
  start_ready_buckets();
  if (auto polled = exchange_.poll(); !polled && !failure_) failure_ = polled.error();
}

void Reducer::check_unchanged(const Parameter& parameter) const {
  const at::Tensor& planned = buckets_->gradient(static_cast<std::size_t>(&parameter - parameters_.data()));
  const at::Tensor& tensor = parameter.tensor;
  if (tensor.const_data_ptr() == parameter.data && tensor.scalar_type() == planned.scalar_type() &&
      tensor.device() == planned.device()) {
    return;
  }
  throw UsageError(fmt::format(
      "parameter \"{}\" was {} on {} when the model was wrapped and is {} on {} in other memory now: move or "
      "convert the model before DataParallel is constructed, and load into it through "
      "DataParallel::reloaded()",
      parameter.name, c10::toString(planned.scalar_type()), planned.device().str(), c10::toString(tensor.scalar_type()),
      tensor.device().str()));
}

void Reducer::put_into_bucket(std::size_t p) {
  Parameter& parameter = parameters_[p];
  at::Tensor& gradient = parameter.tensor.mutable_grad();
  if (!gradient.is_same(buckets_->gradient(p)) && !may_stay(p, gradient)) {
    use_bucket(p);
    buckets_->take(p, gradient);
    gradient = buckets_->gradient(p);
  }
  tell_where(p, gradient);
  look_for_nan(p);
  presence()[p] = 1;
  if (std::exchange(parameter.ready, true)) return;
  if (--missing_[parameter.bucket] == 0) record(EventKind::kBucketReady, parameter.bucket);
}

void Reducer::start_ready_buckets() {
  if (!options_.overlap) return;
  while (!failure_ && next_to_start_ < missing_.size() && missing_[next_to_start_] == 0) start_next_bucket();
}

void Reducer::start_next_bucket() {
  record(EventKind::kBucketStarted, next_to_start_);
  const auto started = exchange_.start(id_, next_to_start_);
  if (started)
    ++next_to_start_;
  else
    failure_ = started.error();
}

std::uint32_t Reducer::bucket_count() const {
  return static_cast<std::uint32_t>(buckets_->size() + 1 + buffers_.size());
}

/// Starts what has not started and waits for all of it, in as many generations of the run as that takes.
Result<> Reducer::exchange_all(Deadline deadline) {
  const Duration patience = deadline - clock_.now();
  while (true) {
    while (!failure_ && next_to_start_ < bucket_count()) start_next_bucket();
    record(EventKind::kWaitBegin);
    const Result<> done = failure_ ? Result<>(*std::exchange(failure_, std::nullopt)) : exchange_.finish(deadline);
    if (done) record(EventKind::kWaitEnd);
    if (done || done.error().code != Errc::kSuperseded || !options_.regroup) return done;
    TUTTI_TRY(options_.regroup());
    deadline = clock_.now() + patience;
  }
}

void Reducer::collect_the_rest() {
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    Parameter& parameter = parameters_[p];
    if (parameter.ready) continue;
    // Defined without a hook in this backward: it was accumulated under no_sync.
    if (parameter.tensor.grad().defined()) {
      put_into_bucket(p);
      continue;
    }
    use_bucket(p);
    buckets_->take_nothing(p);
    tell_where(p, buckets_->gradient(p));
    presence()[p] = 0;
    parameter.ready = true;
    --missing_[parameter.bucket];
  }
}

Result<> Reducer::finish(Deadline deadline) {
  record(EventKind::kBackwardLastHook);
  collect_the_rest();
  buffers_.gather();
  const Wishes wishes = options_.wishes ? options_.wishes() : Wishes();
  cast({.wishes = wishes, .done = done_, .not_finite = first_not_finite()}, options_.rank, votes());
  TUTTI_TRY(exchange_all(deadline));
  TUTTI_TRY(decide());
  record(EventKind::kExchangeDone, 0, buckets_->bytes());
  if (options_.exchanged) options_.exchanged();
  ++exchanges_;
  if (stepped_by_iteration_)
    ++id_.index;
  else
    ++id_.step;
  if (!settled_ && options_.agree_on_order) TUTTI_TRY(lay_out_anew(deadline));
  settled_ = true;
  reset();
  return {};
}

bool Reducer::reset() noexcept {
  const bool part_was_sent = next_to_start_ > 0;
  for (std::size_t b = 0; b < buckets_->size(); ++b)
    missing_[b] = static_cast<std::uint32_t>(buckets_->plan(b).entries.size());
  for (Parameter& parameter : parameters_) parameter.ready = false;
  next_to_start_ = 0;
  active_ = false;
  if (births_) births_->close();
  measured_.clear();
  failure_.reset();
  not_finite_.reset();
  checked_.clear();
  return part_was_sent;
}

void Reducer::record(EventKind kind, std::uint32_t bucket, std::uint64_t bytes) const noexcept {
  events_.record({clock_.now(), kind, options_.rank, 0, step(), options_.object, bucket, bytes});
}

}  // namespace tutti::worker
