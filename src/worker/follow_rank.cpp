// SPDX-License-Identifier: Apache-2.0
#include "worker/follow_rank.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/bounded_archive.h"
#include "worker/data_parallel_impl.h"
#include "worker/gradient_buckets.h"

namespace tutti::worker {
namespace {

struct Described {
  std::string name;
  DType dtype{};
  std::vector<std::int64_t> shape;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, dtype, shape);
  }
};

struct Description {
  std::vector<Described> tensors;
  std::map<std::string, std::string> scalars;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(tensors, scalars);
  }
};

Description describe(const StateView& state) {
  Description description;
  for (const auto& [name, tensor] : state.tensors())
    description.tensors.push_back({name, dtype_of(tensor, name), tensor.sizes().vec()});
  for (const auto& [name, value] : state.scalars()) description.scalars[name] = value;
  return description;
}

/// The root's tensors, or room for them.
std::vector<StateView::Entry> room_for(const Description& description, const StateView& state, bool is_root) {
  const std::vector<StateView::Entry> own = state.tensors();
  std::vector<StateView::Entry> entries;
  for (std::size_t i = 0; i < description.tensors.size(); ++i) {
    const Described& described = description.tensors[i];
    const auto options = own.front().tensor.options().requires_grad(false).dtype(scalar_type_of(described.dtype));
    entries.push_back(
        {described.name, is_root ? own[i].tensor.detach().contiguous() : at::zeros(described.shape, options)});
  }
  return entries;
}

/// As bytes: no exchange rounds those. All but the root add zeros.
Result<> add_up(SessionImpl& session, Exchange& exchange, ExchangePlan plan, BufferBuckets& flat, bool is_root) {
  TUTTI_TRY(exchange.open(std::move(plan), session.deadline()));
  if (is_root) flat.gather();
  for (std::size_t b = 0; b < flat.size(); ++b) TUTTI_TRY(exchange.start({}, static_cast<std::uint32_t>(b)));
  TUTTI_TRY(exchange.finish(session.deadline()));
  flat.scatter();
  return {};
}

void send_bytes(SessionImpl& session, const std::vector<StateView::Entry>& entries, bool is_root) {
  std::vector<at::Tensor> bytes;
  for (const StateView::Entry& entry : entries) bytes.push_back(entry.tensor.view({-1}).view(at::kByte));
  BufferBuckets flat(std::move(bytes));
  ExchangePlan plan{session.next_object(), 0, {}, {}};
  for (std::size_t b = 0; b < flat.size(); ++b) {
    plan.buckets.push_back(flat.spec(b));
    plan.buckets.back().reduction = Reduction::kSum;
    plan.memory.push_back(flat.memory(b));
  }
  const auto exchange = session.make_exchange(plan.object);
  session.attend(*exchange);
  const Result<> result = add_up(session, *exchange, std::move(plan), flat, is_root);
  session.forget(*exchange);
  session.check(result);
}

bool is_own(const std::vector<std::string>& ignored, const std::string& name) {
  const std::size_t slash = name.find('/');
  if (slash == std::string::npos) return false;
  const std::string rest = name.substr(slash + 1);
  return std::ranges::any_of(ignored, [&](const std::string& own) {
    return rest == own || (name.starts_with("optimizer.") && rest.starts_with(own + "/"));
  });
}

}  // namespace

void follow_rank(DataParallelImpl& parallel, int root) {
  const c10::NoGradGuard no_grad;
  SessionImpl& session = parallel.session();
  const bool is_root = session.identity().rank == root;
  StateView state = parallel.state();
  std::string text = is_root ? encode(describe(state)) : "";
  text = session.check(session.member()->broadcast(std::move(text), root, session.deadline()));
  const auto description = session.check(decode<Description>(std::as_bytes(std::span(text))));
  std::vector<StateView::Entry> entries = room_for(description, state, is_root);
  send_bytes(session, entries, is_root);
  if (is_root) return;

  const std::vector<std::string>& ignored = parallel.options().ignore();
  StateView::Scalars scalars(description.scalars.begin(), description.scalars.end());
  std::erase_if(entries, [&](const StateView::Entry& entry) { return is_own(ignored, entry.name); });
  std::erase_if(scalars, [&](const auto& scalar) { return is_own(ignored, scalar.first); });
  for (const StateView::Entry& entry : state.tensors()) {
    if (is_own(ignored, entry.name)) entries.push_back({entry.name, entry.tensor.detach().clone()});
  }
  for (const auto& scalar : state.scalars()) {
    if (is_own(ignored, scalar.first)) scalars.insert(scalar);
  }
  state.assign(entries, scalars);
}

}  // namespace tutti::worker
