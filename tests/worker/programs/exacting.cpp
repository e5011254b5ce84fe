// SPDX-License-Identifier: Apache-2.0
// Trains the exacting model for 20 steps: as one rank of a run, or, with --reference N, as one process that does in
// plain LibTorch what N ranks do together. The last line of rank 0 is "hash=... ranks=N exchange=X".
#include <torch/torch.h>
#include <tutti/tutti.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

#include "tests/worker/programs/exacting_model.h"
#include "worker/sharded_order.h"

namespace {

constexpr std::int64_t kBatch = 4, kStepsPerEpoch = 10, kEpochs = 2;

struct Arguments {
  std::string optimizer = "sgd", variant, dump, checkpoint, seen, kill_after, losses, norms;
  int reference = 0, host_size = 0, variant_rank = -1, hold_ms = 0, slow_ms = 0;
  bool swap = false, reciprocal = false, delay = false, copy = false, unfreeze = false, resume = false,
       other_threads = false, zero_after = false, clip = false;
  std::int64_t save_at = 0, kill_at = -1, samples = 0, nan_at = -1, nan_steps = 1, signal_at = -1, flip_at = -1,
               save_every = 0;
  std::vector<std::int64_t> own_batches;
};

CLI::App& declare(CLI::App& app, Arguments& a) {
  app.add_option("--optimizer", a.optimizer);
  app.add_option("--reference", a.reference, "do the work of so many ranks in turn");
  app.add_option("--host-size", a.host_size, "reference: so many ranks are summed apart, then these sums");
  app.add_flag("--swap", a.swap, "reference: rank 2's gradient is added before rank 1's");
  app.add_flag("--reciprocal", a.reciprocal, "reference: multiply by 1/N instead of dividing by N");
  app.add_option("--variant", a.variant, "the model is another one on --variant-rank");
  app.add_option("--variant-rank", a.variant_rank);
  app.add_flag("--other-threads", a.other_threads, "another number of threads on --variant-rank");
  app.add_flag("--copy", a.copy, "train a copy of the model that was wrapped");
  app.add_flag("--unfreeze", a.unfreeze, "freeze a parameter until the model is wrapped");
  app.add_flag("--delay", a.delay, "random pauses before joining and in every step");
  app.add_option("--hold-ms", a.hold_ms, "each step lasts at least so long");
  app.add_option("--slow-ms", a.slow_ms, "each step of --variant-rank lasts so much longer");
  app.add_option("--dump", a.dump, "file for the final parameters as float64");
  app.add_option("--checkpoint", a.checkpoint, "folder");
  app.add_option("--save-at", a.save_at, "save after so many steps and end");
  app.add_flag("--resume", a.resume);
  app.add_option("--samples", a.samples, "of the data set; 0: as many as fill all steps");
  app.add_option("--seen", a.seen, "file for epoch and sample of all that this rank trained on, behind its rank");
  app.add_option("--losses", a.losses, "file for step and loss as rank 0 logs them");
  app.add_option("--norms", a.norms, "file for step and norm of the gradients as LibTorch has it");
  app.add_flag("--zero-after", a.zero_after, "gradients are zeros right after each optimizer step");
  app.add_flag("--clip", a.clip, "gradients are clipped to a small norm");
  app.add_option("--kill-at", a.kill_at, "rank 1 kills itself in this step");
  app.add_option("--nan-at", a.nan_at, "--variant-rank's loss is no number from this step on (reference: left out)");
  app.add_option("--nan-steps", a.nan_steps, "for so many steps");
  app.add_option("--flip-at", a.flip_at, "a bit flips in --variant-rank's weights after this step, the first time");
  app.add_option("--save-every", a.save_every, "save to --checkpoint after so many steps, again and again");
  app.add_option("--own-batches", a.own_batches, "of each rank, in a loop of the program's own");
  app.add_option("--signal-at", a.signal_at, "--variant-rank sends itself a TERM in this step");
  app.add_option("--kill-after", a.kill_after, "but not before this is there");
  return app;
}

bool is_nan_step(const Arguments& a, std::int64_t step) {
  return a.nan_at >= 0 && a.nan_at <= step && step < a.nan_at + a.nan_steps;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::string& name,
                                                        const std::vector<torch::Tensor>& parameters) {
  if (name == "adam")
    return std::make_unique<torch::optim::Adam>(parameters, torch::optim::AdamOptions(0.01).weight_decay(0.01));
  return std::make_unique<torch::optim::SGD>(parameters,
                                             torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(0.001));
}

void pause(const Arguments& arguments) {
  static std::mt19937 random(static_cast<unsigned>(::getpid()));
  if (arguments.delay) std::this_thread::sleep_for(std::chrono::milliseconds(random() % 40));
  if (arguments.hold_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(arguments.hold_ms));
}

void dump(const std::string& path, const torch::nn::Module& model) {
  std::ofstream file(path, std::ios::binary);
  for (const torch::Tensor& parameter : model.parameters()) {
    const torch::Tensor values = parameter.detach().to(torch::kFloat64).contiguous();
    file.write(static_cast<const char*>(values.const_data_ptr()), static_cast<std::streamsize>(values.nbytes()));
  }
}

void die(const std::string& after) {
  while (!after.empty() && !std::filesystem::exists(after)) std::this_thread::yield();
  ::kill(::getpid(), SIGKILL);
}

void note(const std::string& path, int rank, std::int64_t epoch, const torch::Tensor& which) {
  if (path.empty()) return;
  std::ofstream file(path + std::to_string(rank), std::ios::app);
  for (std::int64_t i = 0; i < which.numel(); ++i) file << epoch << ' ' << which[i].item<std::int64_t>() << '\n';
}

/// Exactly.
void note_number(const std::string& path, std::int64_t step, double number) {
  if (path.empty()) return;
  std::ofstream file(path, std::ios::app);
  file.precision(std::numeric_limits<double>::max_digits10);
  file << step << ' ' << number << '\n';
}

/// Before the optimizer's step.
void note_norm(const std::string& path, std::int64_t step, const torch::nn::Module& model) {
  if (path.empty()) return;
  torch::Tensor squares = torch::zeros({}, torch::kFloat64);
  for (const torch::Tensor& parameter : model.parameters()) {
    if (parameter.grad().defined()) squares += parameter.grad().to(torch::kFloat64).square().sum();
  }
  note_number(path, step, squares.sqrt().item<double>());
}

void report(const Arguments& arguments, const tutti::Session& session, Exacting& model,
            torch::optim::Optimizer& optimizer, int ranks) {
  if (!arguments.dump.empty()) dump(arguments.dump, *model);
  std::printf("hash=%s ranks=%d exchange=%s\n", tutti::StateView(*model, {&optimizer}).model_hash().c_str(), ranks,
              std::string(session.exchange()).c_str());
}

/// The gradients of one host, added to those of the hosts before.
void add_host(Exacting& model, std::vector<torch::Tensor>& sums) {
  const torch::NoGradGuard no_grad;
  const auto parameters = model->parameters();
  sums.resize(parameters.size());
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    torch::Tensor& gradient = parameters[p].mutable_grad();
    if (gradient.defined()) sums[p] = sums[p].defined() ? sums[p] + gradient : gradient;
    gradient.reset();
  }
}

/// Gradients of all ranks' micro-batches, accumulated by LibTorch in rank order, then divided. Buffers are rank 0's.
void reference_step(const Arguments& arguments, Exacting& model, tutti::worker::ShardedOrder& order, std::int64_t step,
                    std::uint64_t seed) {
  Samples samples(0);
  std::vector<int> ranks(static_cast<std::size_t>(arguments.reference));
  std::iota(ranks.begin(), ranks.end(), 0);
  if (arguments.swap) std::swap(ranks[1], ranks[2]);
  std::vector<torch::Tensor> buffers_of_rank_0, sums;
  for (const int rank : ranks) {
    const auto batch = samples.get_batch(order.indices(static_cast<std::size_t>(step % kStepsPerEpoch), rank));
    torch::manual_seed(
        tutti::worker::mix(seed, static_cast<std::uint64_t>(step) + 1, static_cast<std::uint64_t>(rank)));
    const torch::Tensor loss = loss_of(model, batch, rank);
    if (rank == 0) {
      for (const torch::Tensor& buffer : model->buffers()) buffers_of_rank_0.push_back(buffer.clone());
    }
    loss.backward();
    if (arguments.host_size > 0 && (rank + 1) % arguments.host_size == 0) add_host(model, sums);
  }
  const torch::NoGradGuard no_grad;
  for (std::size_t p = 0; p < sums.size(); ++p) model->parameters()[p].mutable_grad() = sums[p];
  for (torch::Tensor& parameter : model->parameters()) {
    if (!parameter.grad().defined()) continue;
    if (arguments.reciprocal)
      parameter.mutable_grad().mul_(1.0 / arguments.reference);
    else
      parameter.mutable_grad().div_(arguments.reference);
  }
  for (std::size_t b = 0; b < buffers_of_rank_0.size(); ++b) model->buffers()[b].copy_(buffers_of_rank_0[b]);
}

void run_reference(const Arguments& arguments, tutti::Session& session) {
  Exacting model("");
  const auto optimizer = make_optimizer(arguments.optimizer, model->parameters());
  tutti::worker::ShardedOrder order(static_cast<std::size_t>(kBatch * kStepsPerEpoch * arguments.reference), kBatch,
                                    arguments.reference, session.seed());
  for (std::int64_t step = 0; step < kEpochs * kStepsPerEpoch; ++step) {
    if (step % kStepsPerEpoch == 0) order.begin_epoch(static_cast<std::uint64_t>(step / kStepsPerEpoch));
    if (is_nan_step(arguments, step)) continue;
    optimizer->zero_grad();
    reference_step(arguments, model, order, step, session.seed());
    note_norm(arguments.norms, step + 1, *model);
    optimizer->step();
  }
  report(arguments, session, model, *optimizer, arguments.reference);
}

void flip_a_bit(Exacting& model) {
  auto* words = static_cast<std::uint32_t*>(model->first->weight.mutable_data_ptr());
  words[17] ^= 1u << 7;
}

/// A loop of the program's own over as many batches as this rank has; all ranks end with the same state.
void own_loop(const Arguments& arguments, tutti::Session& session, tutti::DataParallel& parallel, Exacting& model,
              torch::optim::Optimizer& optimizer) {
  Samples samples(0);
  const int rank = session.rank();
  const std::int64_t count = arguments.own_batches.at(static_cast<std::size_t>(rank));
  for (std::int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    for (std::int64_t batch = 0; batch < count; ++batch) {
      const auto first = static_cast<std::size_t>(1000 * rank + 100 * epoch + batch);
      optimizer.zero_grad();
      loss_of(model, samples.get_batch({first, first + 50}), rank).backward();
      optimizer.step();
    }
    parallel.join();
  }
  std::string state;  // the optimizer's, too
  for (const auto& [name, tensor] : parallel.state().tensors())
    state += name + std::string(static_cast<const char*>(tensor.contiguous().const_data_ptr()), tensor.nbytes());
  for (const std::string& other : session.all_gather(std::to_string(std::hash<std::string>()(state)))) {
    if (other != std::to_string(std::hash<std::string>()(state)))
      throw tutti::MismatchError("the ranks end with different states");
  }
  if (rank == 0) report(arguments, session, model, optimizer, session.world_size());
}

void run_rank(const Arguments& arguments, tutti::Session& session) {
  const bool odd_one = session.rank() == arguments.variant_rank;
  if (odd_one && arguments.other_threads) at::set_num_threads(at::get_num_threads() + 1);
  Exacting model(odd_one ? arguments.variant : "");
  const auto optimizer = make_optimizer(arguments.optimizer, model->parameters());
  model->never.requires_grad_(!arguments.unfreeze);
  tutti::DataParallel parallel(session, model, *optimizer);
  model->never.requires_grad_(true);
  if (arguments.copy) model = Exacting("");
  if (arguments.resume && !parallel.load(arguments.checkpoint)) throw tutti::DataError("nothing to resume from");
  const std::int64_t all = kBatch * kStepsPerEpoch * session.world_size();
  Samples samples(static_cast<std::size_t>(arguments.samples > 0 ? arguments.samples : all));
  std::int64_t flip_at = arguments.flip_at;
  if (!arguments.own_batches.empty()) {
    own_loop(arguments, session, parallel, model, *optimizer);
    return;
  }
  if (!arguments.checkpoint.empty()) parallel.at_stop([&] { parallel.save(arguments.checkpoint); });
  for (auto& batch : parallel.batches(samples, kBatch, kEpochs)) {
    pause(arguments);
    if (odd_one) std::this_thread::sleep_for(std::chrono::milliseconds(arguments.slow_ms));
    optimizer->zero_grad();
    torch::Tensor loss = loss_of(model, batch, session.rank());
    const std::int64_t step = parallel.steps() - 1;
    if (step == arguments.kill_at && session.rank() == 1) die(arguments.kill_after);
    if (step == arguments.signal_at && odd_one) ::kill(::getpid(), SIGTERM);
    if (is_nan_step(arguments, step) && odd_one) loss = loss * std::numeric_limits<double>::quiet_NaN();
    loss.backward();
    if (session.rank() == 0) note_norm(arguments.norms, parallel.steps(), *model);
    if (arguments.clip) torch::nn::utils::clip_grad_norm_(model->parameters(), 1e-3);
    optimizer->step();
    if (arguments.zero_after) optimizer->zero_grad(/*set_to_none=*/false);
    session.log("loss", loss.item<double>());
    if (session.rank() == 0) note_number(arguments.losses, parallel.steps(), loss.item<double>());
    note(arguments.seen, session.rank(), parallel.epoch(), batch.target);
    if (step == std::exchange(flip_at, step == flip_at ? -1 : flip_at) && odd_one) flip_a_bit(model);
    if (arguments.save_every > 0 && parallel.steps() % arguments.save_every == 0) parallel.save(arguments.checkpoint);
    if (parallel.steps() != arguments.save_at) continue;
    parallel.save(arguments.checkpoint);
    return;
  }
  if (session.stopping()) return;
  const auto hashes = session.all_gather(parallel.state().model_hash());
  for (const std::string& hash : hashes) {
    if (hash != hashes[0]) throw tutti::MismatchError("the ranks end with different parameters");
  }
  if (session.rank() == 0) report(arguments, session, model, *optimizer, session.world_size());
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app;
  CLI11_PARSE(declare(app, arguments), argc, argv);
  if (arguments.delay) pause(arguments);
  tutti::Session session(argc, argv);
  if (arguments.reference > 0)
    run_reference(arguments, session);
  else
    run_rank(arguments, session);
}
