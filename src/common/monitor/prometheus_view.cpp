// SPDX-License-Identifier: Apache-2.0
#include "common/monitor/prometheus_view.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <functional>
#include <limits>
#include <sstream>
#include <utility>

namespace tutti::monitor {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Families = std::vector<MetricFamily>;
using Labels = std::vector<ClientMetric::Label>;
using Row = RunBoard::Row;

ClientMetric metric_of(MetricType type, double value, Labels labels) {
  ClientMetric metric;
  metric.label = std::move(labels);
  if (type == MetricType::Counter) metric.counter.value = value;
  if (type == MetricType::Gauge) metric.gauge.value = value;
  return metric;
}

ClientMetric metric_of(const Histogram& histogram, Labels labels) {
  ClientMetric metric;
  metric.label = std::move(labels);
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    so_far += histogram.counts[i];
    const bool is_last = i == Histogram::kBounds.size();
    metric.histogram.bucket.push_back(
        {so_far, is_last ? std::numeric_limits<double>::infinity() : Histogram::kBounds[i]});
  }
  metric.histogram.sample_count = so_far;
  metric.histogram.sample_sum = to_seconds(histogram.sum);
  return metric;
}

MetricFamily& add(Families& families, MetricType type, const char* name, const char* help) {
  families.push_back({name, help, type, {}});
  return families.back();
}

void add_one(Families& families, MetricType type, const char* name, const char* help, double value,
             Labels labels = {}) {
  add(families, type, name, help).metric.push_back(metric_of(type, value, std::move(labels)));
}

Labels labels_of(const MemberId& member, const Row& row) {
  constexpr const char* kRoles[] = {"worker", "server", "agent"};
  return {{"host", row.host},
          {"rank", std::to_string(member.rank)},
          {"role", kRoles[static_cast<std::size_t>(member.role)]}};
}

/// Those that are alive; `role`: nothing where all are wanted.
template <class F>
void for_each_alive(const RunBoard& board, std::optional<Role> role, F f) {
  for (const auto& [member, row] : board.rows()) {
    if (row.is_alive && (!role || member.role == *role)) f(member, row);
  }
}

/// A family with a value for each process that is alive and has reported.
void add_each(Families& families, const RunBoard& board, std::optional<Role> role, MetricType type, const char* name,
              const char* help, const std::function<std::optional<double>(const MemberId&, const Row&)>& value_of) {
  MetricFamily family{name, help, type, {}};
  for_each_alive(board, role, [&](const MemberId& member, const Row& row) {
    const auto value = row.report ? value_of(member, row) : std::nullopt;
    if (value) family.metric.push_back(metric_of(type, *value, labels_of(member, row)));
  });
  if (!family.metric.empty()) families.push_back(std::move(family));
}

constexpr MetricType kCounter = MetricType::Counter, kGauge = MetricType::Gauge;

}  // namespace

std::string PrometheusView::text() const {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, Collect());
  return text.str();
}

std::vector<MetricFamily> PrometheusView::Collect() const {
  Families families;
  collect_run(families);
  collect_training(families);
  collect_exchange(families);
  collect_checkpoints(families);
  collect_usage(families);
  return families;
}

void PrometheusView::collect_run(Families& families) const {
  const RunFacts& facts = board_.facts();
  const RunBoard::Totals& totals = board_.totals();
  add_one(families, kGauge, "tutti_build_info", "The version of tutti", 1, {{"version", TUTTI_VERSION}});
  add_one(families, kGauge, "tutti_run_info", "Which run this is", 1,
          {{"run", facts.job}, {"exchange", facts.exchange}});
  add_one(families, kGauge, "tutti_generation", "Generation of the membership", board_.generation());
  add_one(families, kGauge, "tutti_workers", "Workers of the run", board_.workers());
  add_one(families, kGauge, "tutti_shards", "Parameter servers of the run", board_.shards());
  MetricFamily& up = add(families, kGauge, "tutti_up", "Processes that are alive");
  for_each_alive(board_, std::nullopt, [&](const MemberId& member, const Row& row) {
    up.metric.push_back(metric_of(kGauge, 1, labels_of(member, row)));
  });
  MetricFamily& evictions =
      add(families, kCounter, "tutti_evictions_total", "Processes that were lost or ended, by reason");
  for (const char* reason :
       {"agent_lost", "connection", "exited", "killed", "left_early", "reported", "silent", "stuck", "unreachable"}) {
    const auto found = totals.evictions.find(reason);
    const auto count = found == totals.evictions.end() ? 0 : found->second;
    evictions.metric.push_back(metric_of(kCounter, static_cast<double>(count), {{"reason", reason}}));
  }
  add_one(families, kCounter, "tutti_replacements_total", "Processes that took the place of lost ones",
          static_cast<double>(totals.replacements));
  add_one(families, kCounter, "tutti_lost_steps_total", "Steps that were made and had to be made again",
          static_cast<double>(totals.lost_steps));
  add_one(families, kCounter, "tutti_skipped_steps_total", "Steps left out since a gradient was not finite",
          static_cast<double>(totals.skipped_steps));
  MetricFamily& refused = add(families, kCounter, "tutti_refused_frames_total",
                              "Connections and frames that were refused by coordinator and shards, by reason");
  double protocol = 0;
  for_each_alive(board_, Role::kServer, [&](const MemberId&, const Row& row) {
    if (row.report) protocol += static_cast<double>(row.report->metrics.frames_refused);
  });
  const std::pair<const char*, double> reasons[] = {{"handshake", static_cast<double>(refused_.handshakes)},
                                                    {"protocol", protocol},
                                                    {"stale_generation", static_cast<double>(refused_.stale_frames)}};
  for (const auto& [reason, count] : reasons)
    refused.metric.push_back(metric_of(kCounter, count, {{"reason", reason}}));
}

void PrometheusView::collect_training(Families& families) const {
  const std::uint64_t furthest = board_.furthest_step();
  add_each(families, board_, Role::kWorker, kGauge, "tutti_step", "The step it is at, counted from 0",
           [](const MemberId&, const Row& row) { return static_cast<double>(row.step); });
  add_each(families, board_, Role::kWorker, kGauge, "tutti_staleness_steps",
           "How many steps it is behind the furthest worker", [&](const MemberId&, const Row& row) {
             return static_cast<double>(furthest - std::min(row.step, furthest));
           });
  MetricFamily steps{"tutti_step_seconds", "From the end of a step to the end of the next", MetricType::Histogram, {}};
  for_each_alive(board_, Role::kWorker, [&](const MemberId& member, const Row& row) {
    if (row.report) steps.metric.push_back(metric_of(row.report->metrics.step_time, labels_of(member, row)));
  });
  if (!steps.metric.empty()) families.push_back(std::move(steps));
  MetricFamily values{"tutti_logged_value", "The newest value that rank 0 logged, by name", kGauge, {}};
  for (const auto& [name, value] : board_.values()) {
    if (name == "loss") add_one(families, kGauge, "tutti_loss", "The newest value that rank 0 logged as loss", value);
    values.metric.push_back(metric_of(kGauge, value, {{"name", name}}));
  }
  if (!values.metric.empty()) families.push_back(std::move(values));
  add_each(families, board_, Role::kWorker, kCounter, "tutti_samples_total", "Samples that it has trained on",
           [](const MemberId&, const Row& row) { return static_cast<double>(row.report->metrics.samples); });
}

void PrometheusView::collect_exchange(Families& families) const {
  add_each(families, board_, Role::kWorker, kCounter, "tutti_pushed_bytes_total",
           "Bytes of gradients sent to parameter servers",
           [](const MemberId&, const Row& row) { return static_cast<double>(row.report->metrics.bytes_sent); });
  add_each(families, board_, Role::kWorker, kCounter, "tutti_pulled_bytes_total",
           "Bytes of results received from parameter servers",
           [](const MemberId&, const Row& row) { return static_cast<double>(row.report->metrics.bytes_received); });
  MetricFamily exchanges{
      "tutti_exchange_seconds", "From a step's first bucket on its way to its last result", MetricType::Histogram, {}};
  for_each_alive(board_, Role::kWorker, [&](const MemberId& member, const Row& row) {
    if (!row.report) return;
    Labels labels = labels_of(member, row);
    labels.push_back({"exchange", board_.facts().exchange});
    exchanges.metric.push_back(metric_of(row.report->metrics.exchange_time, std::move(labels)));
  });
  if (!exchanges.metric.empty()) families.push_back(std::move(exchanges));
  add_each(families, board_, Role::kWorker, kCounter, "tutti_wait_seconds_total",
           "How long its training thread has waited for the exchange",
           [](const MemberId&, const Row& row) { return to_seconds(row.report->metrics.waited); });
  add_each(families, board_, Role::kWorker, kCounter, "tutti_caused_wait_seconds_total",
           "How long the others, all together, have waited for it",
           [&](const MemberId& member, const Row&) { return to_seconds(board_.caused_by(member.rank)); });
}

void PrometheusView::collect_checkpoints(Families& families) const {
  const RunBoard::Totals& totals = board_.totals();
  add_one(families, kCounter, "tutti_checkpoints_total", "Checkpoints on the disk",
          static_cast<double>(totals.checkpoints));
  add_one(families, kCounter, "tutti_checkpoint_failures_total",
          "Checkpoints that could not be written or were left out", static_cast<double>(totals.checkpoints_failed));
  if (const auto& last = board_.checkpoint())
    add_one(families, kGauge, "tutti_checkpoint_age_seconds", "Since the last checkpoint was on the disk",
            to_seconds(now_ - last->time));
  for_each_alive(board_, Role::kWorker, [&](const MemberId& member, const Row& row) {
    if (member.rank != 0 || !row.report) return;
    add(families, MetricType::Histogram, "tutti_checkpoint_seconds", "Writing a checkpoint")
        .metric.push_back(metric_of(row.report->metrics.checkpoint_time, {}));
    add_one(families, kCounter, "tutti_checkpoint_stall_seconds_total",
            "How long training has stood still for checkpoints", to_seconds(row.report->metrics.stalled));
  });
}

void PrometheusView::collect_usage(Families& families) const {
  add_each(families, board_, std::nullopt, kGauge, "tutti_memory_bytes", "Resident memory",
           [](const MemberId&, const Row& row) { return static_cast<double>(row.report->usage.memory_bytes); });
  add_each(families, board_, std::nullopt, kCounter, "tutti_cpu_seconds_total", "Processor time of all its threads",
           [](const MemberId&, const Row& row) { return to_seconds(row.report->usage.cpu); });
  add_each(families, board_, Role::kWorker, kGauge, "tutti_gpu_memory_bytes", "Memory in use on its GPU",
           [](const MemberId&, const Row& row) -> std::optional<double> {
             if (!row.report->usage.gpu_memory_bytes) return std::nullopt;
             return static_cast<double>(*row.report->usage.gpu_memory_bytes);
           });
  add_each(families, board_, Role::kWorker, kGauge, "tutti_gpu_utilization_ratio",
           "The part of the last moment in which its GPU was busy",
           [](const MemberId&, const Row& row) { return row.report->usage.gpu_utilization; });
}

}  // namespace tutti::monitor
