// SPDX-License-Identifier: Apache-2.0
#include "worker/data_parallel_impl.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <functional>
#include <span>
#include <unordered_set>

#include "common/bounded_archive.h"
#include "tutti/error.h"
#include "tutti/version.h"
#include "worker/checkpoints.h"
#include "worker/follow_rank.h"
#include "worker/gradient_buckets.h"
#include "worker/scalars.h"
#include "worker/sharded_order.h"

namespace tutti::worker {
namespace {

bool is_ignored(const DataParallelOptions& options, const std::string& name) {
  return std::find(options.ignore().begin(), options.ignore().end(), name) != options.ignore().end();
}

/// Tensors under their first name: one that a model holds twice is exchanged once.
std::vector<NamedTensor> distinct(const torch::OrderedDict<std::string, at::Tensor>& named,
                                  const DataParallelOptions& options) {
  std::vector<NamedTensor> result;
  std::unordered_set<const void*> seen;
  for (const auto& item : named) {
    if (!item.value().defined() || is_ignored(options, item.key())) continue;
    if (seen.insert(item.value().unsafeGetTensorImpl()).second) result.push_back({item.key(), item.value()});
  }
  return result;
}

TableTensor describe_for_table(const NamedTensor& named) {
  return {named.name, dtype_of(named.tensor, "tensor \"" + named.name + "\""), named.tensor.sizes().vec(),
          named.tensor.requires_grad()};
}

std::uint64_t or_configured(std::uint64_t own, std::uint64_t configured) {
  return own != 0 ? own : configured;
}

/// Collective. Every rank's `tensors`, equal in number, shapes and dtypes, become rank 0's: they travel through an
/// exchange of their own, as gradients do. A newcomer gets them later, from a survivor.
void broadcast_state(SessionImpl& session, const std::vector<at::Tensor>& tensors) {
  BufferBuckets flat(tensors);
  ExchangePlan plan{session.next_object(), 0, {}, {}};
  for (std::size_t b = 0; b < flat.size(); ++b) {
    plan.buckets.push_back(flat.spec(b));
    plan.memory.push_back(flat.memory(b));
  }
  if (plan.buckets.empty() || session.is_newcomer()) return;

  const auto exchange = session.make_exchange(plan.object);
  session.attend(*exchange);
  const auto run = [&]() -> Result<> {
    TUTTI_TRY(exchange->open(std::move(plan), session.deadline()));
    flat.gather();
    for (std::size_t b = 0; b < flat.size(); ++b) TUTTI_TRY(exchange->start({}, static_cast<std::uint32_t>(b)));
    return exchange->finish(session.deadline());
  };
  const Result<> result = run();
  session.forget(*exchange);
  session.check(result);
  flat.scatter();
}

/// Collective. Raises kMismatch, naming the first rank whose hash is not rank 0's.
void check_same_hash(SessionImpl& session, const std::string& hash) {
  const auto hashes = session.check(session.member()->all_gather(hash, session.deadline()));
  for (std::size_t rank = 1; rank < hashes.size(); ++rank) {
    if (hashes[rank] == hashes[0]) continue;
    session.raise(
        fail(Errc::kMismatch,
             fmt::format("rank {} starts with other parameters than rank 0 after they were broadcast: {} and {}", rank,
                         hashes[rank], hashes[0])));
  }
}

}  // namespace

DataParallelImpl::DataParallelImpl(SessionImpl& session, torch::nn::Module& module,
                                   std::vector<torch::optim::Optimizer*> optimizers, DataParallelOptions options)
    : session_(session),
      module_(module),
      optimizers_(std::move(optimizers)),
      options_(std::move(options)),
      object_(session.next_object()),
      exceptions_at_start_(std::uncaught_exceptions()) {
  state();  // refuses an optimizer whose state cannot be read
  for (NamedTensor& named : distinct(module_.named_parameters(), options_)) {
    if (!named.tensor.requires_grad()) frozen_.push_back(std::move(named));
  }
  if (session_.identity().world_size > 1) agree();
  if (session_.scalars() != nullptr)
    gradients_ = std::make_unique<GradientWatch>(trained_parameters(), /*follows_backward=*/!session_.exchanges());
  if (!session_.exchanges()) return;
  exchange_ = session_.make_exchange(object_);
  session_.attend(*exchange_);
  if (session_.regrouper() != nullptr) {
    session_.regrouper()->attend(*this);
    start_ = begin_to_remember(*this);
  }
  adopt_rank_0();
  make_reducer();
}

// As long as the others may lose a process, its successor needs a rank that has the state.
void DataParallelImpl::part() noexcept {
  if (session_.regrouper() == nullptr || !in_loop_ || std::uncaught_exceptions() > exceptions_at_start_) return;
  (void)session_.member()->barrier(session_.deadline());  // a failure ends the Session, which tells it
}

DataParallelImpl::~DataParallelImpl() {
  part();
  if (session_.regrouper() != nullptr) session_.regrouper()->forget(*this);
  reducer_.reset();
  if (exchange_) session_.forget(*exchange_);
}

std::vector<NamedTensor> DataParallelImpl::trained_parameters() const {
  std::vector<NamedTensor> trained = distinct(module_.named_parameters(), options_);
  std::erase_if(trained, [](const NamedTensor& named) { return !named.tensor.requires_grad(); });
  return trained;
}

std::vector<NamedTensor> DataParallelImpl::followed_buffers() const {
  return options_.broadcast_buffers() ? distinct(module_.named_buffers(), options_) : std::vector<NamedTensor>{};
}

const std::string& DataParallelImpl::nan_policy() const {
  const std::string& own = options_.nan_policy();
  if (own.empty()) return session_.config().nan_policy;
  if (own == "skip" || own == "halt" || own == "ignore") return own;
  throw UsageError("DataParallelOptions::nan_policy is \"" + own + "\", expected skip, halt or ignore");
}

ParameterTable DataParallelImpl::table() const {
  const RunConfig& config = session_.config();
  ParameterTable table;
  table.facts = {
      {"tutti", kVersion},
      {"LibTorch", TORCH_VERSION},
      {"processor capability", at::get_cpu_capability()},
      {"threads", std::to_string(session_.threads())},
      {"deterministic", config.deterministic ? "true" : "false"},
      {"seed", std::to_string(session_.seed())},
      {"exchange", std::string(session_.exchange_name())},
      {"wire_dtype", config.wire_dtype},
      {"nan_policy", nan_policy()},
      {"replica_check_every", std::to_string(config.replica_check_every)},
      {"born_in_place", config.born_in_place ? "true" : "false"},
      {"reduction", options_.sum() ? "sum" : "average"},
      {"bucket_bytes_max", std::to_string(or_configured(options_.bucket_bytes_max(), config.bucket_bytes_max))},
      {"bucket_bytes_first", std::to_string(or_configured(options_.bucket_bytes_first(), config.bucket_bytes_first))},
      {"number of optimizers", std::to_string(optimizers_.size())},
      {"object", std::to_string(object_)}};
  for (const NamedTensor& named : distinct(module_.named_parameters(), options_))
    table.parameters.push_back(describe_for_table(named));
  for (const NamedTensor& named : distinct(module_.named_buffers(), options_)) {
    table.buffers.push_back(describe_for_table(named));
    table.buffers.back().trained = true;  // nothing a buffer could be frozen out of
  }
  return table;
}

void DataParallelImpl::agree() {
  const Result<> agreed = agree_on(table(), *session_.member(), session_.identity().rank, session_.deadline());
  if (agreed) return;
  session_.logger().error("{}", agreed.error().text());
  // Every rank has the difference in its log before the first one ends the run.
  if (agreed.error().code == Errc::kMismatch) (void)session_.member()->barrier(session_.deadline());
  session_.raise(agreed.error());
}

void DataParallelImpl::adopt_rank_0() {
  std::vector<at::Tensor> tensors;
  for (const NamedTensor& named : distinct(module_.named_parameters(), options_)) tensors.push_back(named.tensor);
  for (const NamedTensor& named : distinct(module_.named_buffers(), options_)) tensors.push_back(named.tensor);
  broadcast_state(session_, tensors);
  if (options_.ignore().empty()) check_same_hash(session_, state().model_hash());
}

/// Rank 0's order goes through the run's store, so that models whose backwards end in another order on some rank do not
/// wait for each other.
Result<std::vector<std::uint32_t>> DataParallelImpl::agree_on_order(std::vector<std::uint32_t> measured,
                                                                    Deadline deadline) {
  const std::string key = fmt::format("ready-order/{}", object_);
  if (session_.identity().rank == 0) {
    TUTTI_TRY(session_.member()->set(key, encode(measured)));
    return measured;
  }
  auto told = session_.member()->get(key, deadline);
  TUTTI_TRY(told);
  auto order = decode<std::vector<std::uint32_t>>(std::as_bytes(std::span(*told)));
  TUTTI_TRY(order);
  if (is_order_of(*order, measured.size())) return order;
  return fail(Errc::kProtocol, fmt::format("rank 0's order of {} parameters names other ones than the {} of model {}",
                                           order->size(), measured.size(), object_));
}

void DataParallelImpl::make_reducer() {
  const RunConfig& config = session_.config();
  ReducerOptions options;
  options.name = fmt::format("model {}", object_);
  options.object = object_;
  options.rank = session_.identity().rank;
  options.world_size = session_.identity().world_size;
  options.reduction = options_.sum() ? Reduction::kSum : Reduction::kAverage;
  options.limits = {or_configured(options_.bucket_bytes_max(), config.bucket_bytes_max),
                    or_configured(options_.bucket_bytes_first(), config.bucket_bytes_first)};
  options.overlap = options_.overlap();
  options.born_in_place = config.born_in_place;
  if (session_.regrouper() != nullptr) options.regroup = [this] { return session_.regrouper()->run(); };
  options.nan_policy = nan_policy_of(nan_policy());
  options.wishes = [this] { return session_.wishes(); };
  options.decided = [this](const Outcome& outcome) { session_.decided(outcome); };
  if (gradients_) options.exchanged = [this] { gradients_->read(); };
  // Ends with the run's cause, which the guilty rank tells: it does not come here.
  options.await_cause = [this] { return session_.member()->barrier(session_.deadline()); };
  options.agree_on_order = [this](std::vector<std::uint32_t> measured, Deadline deadline) {
    return agree_on_order(std::move(measured), deadline);
  };
  reducer_ = std::make_unique<Reducer>(trained_parameters(), followed_buffers(), *exchange_, session_.backward_scope(),
                                       std::move(options), session_.events(), session_.clock(), session_.logger());
  if (!session_.is_newcomer()) session_.check(reducer_->open(session_.deadline()));
}

void DataParallelImpl::reloaded() {
  if (!reducer_) return;
  reducer_->accept_moved_parameters();
  adopt_rank_0();
}

void DataParallelImpl::join() {
  if (in_iteration_) throw UsageError("join() within batches() or consume(), which give every rank the same number");
  if (!reducer_) return;
  const auto ranks = static_cast<std::size_t>(session_.identity().world_size);
  while (session_.check(reducer_->take_part(session_.deadline())).done.size() < ranks) {
  }
  follow_rank(*this, reducer_->last_at_work());
}

void DataParallelImpl::set_position(const DataPosition& position) noexcept {
  if (reducer_ && position.step < position_.step)
    reducer_->rewind(static_cast<std::uint64_t>(position_.step - position.step));
  position_ = position;
}

void DataParallelImpl::set_exchanging(bool exchanging) noexcept {
  if (reducer_) reducer_->set_exchanging(exchanging);
}

void DataParallelImpl::begin_iteration(int rank, bool last_micro_batch) {
  session_.begin_iteration(static_cast<std::uint64_t>(position_.step), rank);
  const bool begins_step = !in_step_;
  in_step_ = in_iteration_ = true;
  if (begins_step) remember_start(/*copies=*/true);
  expects_exchange_ = reducer_ != nullptr && last_micro_batch;
  if (gradients_ && last_micro_batch) gradients_->begin(session_.scalars()->ask_gradients(position_.step + 1));
  if (!reducer_) return;
  reducer_->set_exchanging(last_micro_batch);
  reducer_->begin_step(static_cast<std::uint64_t>(position_.step));
  exchanges_before_ = session_.exchange_count();
}

void DataParallelImpl::end_iteration() {
  if (!in_iteration_) return;
  in_iteration_ = false;
  session_.end_iteration();
  if (!expects_exchange_) return;
  check_frozen();
  if (session_.exchange_count() != exchanges_before_) return;
  session_.raise(fail(Errc::kUsage,
                      fmt::format("{}: step {} exchanged no gradient: backward() reached no parameter of the wrapped "
                                  "model (is a copy of it trained?), or no_sync() was held",
                                  session_.name(), position_.step)));
}

void DataParallelImpl::check_frozen() const {
  for (const NamedTensor& named : frozen_) {
    if (!named.tensor.requires_grad()) continue;
    session_.raise(
        fail(Errc::kUsage, fmt::format("parameter \"{}\" was frozen when the model was wrapped and is trained now: its "
                                       "gradient would not be exchanged; unfreeze before DataParallel is constructed",
                                       named.name)));
  }
}

std::vector<double> DataParallelImpl::learning_rates() const {
  std::vector<double> rates;
  for (const torch::optim::Optimizer* optimizer : optimizers_) {
    for (const auto& group : optimizer->param_groups()) rates.push_back(group.options().get_lr());
  }
  return rates;
}

void DataParallelImpl::show_step(std::size_t samples) {
  session_.step_done(samples);
  if (gradients_) {
    if (const auto numbers = gradients_->take()) session_.show_gradients(*numbers);
  }
  if (Scalars* scalars = session_.scalars())
    scalars->end_step(position_.step + 1, samples, [this] { return learning_rates(); });
}

void DataParallelImpl::end_epoch() {
  const std::int64_t ended = position_.epoch;
  position_.end_epoch();
  for (const auto& f : at_end_of_epoch_) f(ended);
}

void DataParallelImpl::end_step(bool can_rewind) {
  in_step_ = false;
  position_.end_step();
  if (is_check_due() && check_replicas(can_rewind)) return;
  for (const auto& [n, f] : every_) {
    if (position_.step % n == 0) f(position_.step);
  }
}

bool DataParallelImpl::stops() {
  if (session_.stopping()) return true;
  if (!session_.stop_agreed()) return false;
  session_.set_stopping();
  session_.progress().clear();
  if (session_.identity().rank == 0) {
    session_.logger().warning("asked to stop: step {} was the last{}", position_.step - 1,
                              at_stop_.empty() ? ", and the program saves nothing" : "");
  }
  for (const auto& f : at_stop_) f();
  session_.checkpoints().stop(*this);
  return true;
}

Schedule& DataParallelImpl::schedule_of(void* scheduler, const char* what) {
  const auto found =
      std::find_if(schedules_.begin(), schedules_.end(), [&](const Schedule& s) { return s.scheduler == scheduler; });
  if (found == schedules_.end())
    throw UsageError(std::string(what) + ": the scheduler was not registered with DataParallel::schedule()");
  return *found;
}

}  // namespace tutti::worker

namespace tutti {

DataParallel::DataParallel(Session& session, torch::nn::Module& module,
                           std::vector<torch::optim::Optimizer*> optimizers, DataParallelOptions options)
    : impl_(std::make_unique<worker::DataParallelImpl>(session.impl(), module, std::move(optimizers),
                                                       std::move(options))) {
  impl_->session().checkpoints().attend(*impl_);
}

DataParallel::~DataParallel() {
  impl_->session().checkpoints().forget(*impl_);
}

ShardedSampler DataParallel::sampler(std::size_t samples) {
  return ShardedSampler(*impl_, samples);
}

at::Generator DataParallel::generator_for(std::size_t sample) const {
  const auto epoch = static_cast<std::uint64_t>(impl_->position().epoch);
  return at::detail::createCPUGenerator(worker::mix(impl_->session().seed(), epoch, sample));
}

DataParallel::NoSync::NoSync(DataParallel& parallel) : parallel_(parallel), before_(parallel.impl().exchanging()) {
  parallel_.impl().set_exchanging(false);
}
DataParallel::NoSync::~NoSync() {
  parallel_.impl().set_exchanging(before_);
}

void DataParallel::schedule(torch::optim::LRScheduler& scheduler) {
  impl_->schedules().push_back({&scheduler, [&scheduler](float) { scheduler.step(); }, {}});
}

void DataParallel::schedule(torch::optim::ReduceLROnPlateauScheduler& scheduler) {
  impl_->schedules().push_back({&scheduler, [&scheduler](float metric) { scheduler.step(metric); }, {}});
}

void DataParallel::step(torch::optim::LRScheduler& scheduler) {
  impl_->schedule_of(&scheduler, "step").advance(0);
}

void DataParallel::step(torch::optim::ReduceLROnPlateauScheduler& scheduler, float metric) {
  impl_->schedule_of(&scheduler, "step").advance(metric);
}

void DataParallel::at_end_of_epoch(std::function<void(std::int64_t)> f) {
  impl_->at_end_of_epoch(std::move(f));
}
void DataParallel::at_stop(std::function<void()> f) {
  impl_->at_stop(std::move(f));
}
void DataParallel::every(std::int64_t n, std::function<void(std::int64_t)> f) {
  impl_->every(n, std::move(f));
}

void DataParallel::save(const std::string& folder) {
  impl_->session().checkpoints().save(*impl_, folder);
}
bool DataParallel::load(const std::string& folder) {
  return impl_->session().checkpoints().load(*impl_, folder);
}
bool DataParallel::resume() {
  return impl_->session().checkpoints().resume(*impl_);
}
void DataParallel::reloaded() {
  impl_->reloaded();
}
void DataParallel::join() {
  impl_->join();
}

StateView DataParallel::state() const {
  return impl_->state();
}
std::int64_t DataParallel::steps() const noexcept {
  return impl_->steps_done();
}
std::int64_t DataParallel::epoch() const noexcept {
  return impl_->position().epoch;
}

}  // namespace tutti
