// SPDX-License-Identifier: Apache-2.0
// What the chaos tests torment: a small convolutional net with BatchNorm, dropout, momentum and a schedule, for so many
// steps; its ranks talk in collectives at the end of every epoch. A rank can be told to end itself at a place that no
// signal from outside would find, once: a file says that it has happened. The last line of rank 0 is
// "hash=... steps=N ranks=N exchange=X".
#include <fcntl.h>
#include <torch/torch.h>
#include <tutti/tutti.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace {

constexpr std::int64_t kBatch = 4, kStepsPerEpoch = 50;

struct NetImpl : torch::nn::Module {
  NetImpl() {
    register_module("conv", conv);
    register_module("norm", norm);
    register_module("hidden", hidden);
    register_module("out", out);
  }
  torch::Tensor forward(const torch::Tensor& images) {
    torch::Tensor seen = torch::relu(norm(conv(images))).flatten(1);
    seen = torch::dropout(torch::relu(hidden(seen)), 0.1, is_training());
    return out(seen);
  }
  torch::nn::Conv2d conv{torch::nn::Conv2dOptions(1, 8, 3)};
  torch::nn::BatchNorm2d norm{8};
  torch::nn::Linear hidden{8 * 10 * 10, 256}, out{256, 10};
};
TORCH_MODULE(Net);

/// Images that are functions of their index.
class Waves : public torch::data::datasets::BatchDataset<Waves, torch::data::Example<>> {
 public:
  explicit Waves(std::size_t size) : size_(size) {}
  torch::data::Example<> get_batch(torch::ArrayRef<std::size_t> indices) override {
    const torch::Tensor which = torch::tensor(std::vector<std::int64_t>(indices.begin(), indices.end()));
    const torch::Tensor phases = torch::arange(1, 145, torch::kFloat64);
    const torch::Tensor images = torch::sin(which.to(torch::kFloat64).unsqueeze(1) * phases).to(torch::kFloat32);
    return {images.view({-1, 1, 12, 12}), which.remainder(10)};
  }
  std::optional<std::size_t> size() const override { return size_; }

 private:
  std::size_t size_;
};

/// "1:37:forward:9": rank 1 gets signal 9 when step 37 is at that place. "1:37:pause:2000": it is stopped for 2 s
/// there. "1:37:spin": it works on, for nothing, for ever.
struct Fault {
  int rank = 0;
  std::int64_t step = 0;
  std::string place;
  int signal = SIGKILL;
};

Fault parse_fault(const std::string& text) {
  Fault fault;
  char colon = 0;
  std::istringstream in(text);
  in >> fault.rank >> colon >> fault.step >> colon;
  std::getline(in, fault.place, ':');
  in >> fault.signal;
  return fault;
}

/// Who is stopped cannot let itself go on.
void pause_for(std::chrono::milliseconds time) {
  const pid_t self = ::getpid();
  if (::fork() == 0) {
    ::usleep(static_cast<useconds_t>(time.count()) * 1000);
    ::kill(self, SIGCONT);
    ::_exit(0);
  }
  ::kill(self, SIGSTOP);
}

[[noreturn]] void spin() {
  volatile bool is_over = false;
  while (!is_over) {
  }
  std::abort();
}

class Faults {
 public:
  Faults(const std::vector<std::string>& faults, std::string folder) : folder_(std::move(folder)) {
    for (const std::string& text : faults) faults_.push_back(parse_fault(text));
  }

  void at(int rank, std::int64_t step, const std::string& place) const {
    for (std::size_t i = 0; i < faults_.size(); ++i) {
      const Fault& fault = faults_[i];
      if (fault.rank != rank || fault.step != step || fault.place != place || !is_first(i)) continue;
      if (place == "pause") return pause_for(std::chrono::milliseconds(fault.signal));
      if (place == "spin") spin();
      if (fault.signal == 0) throw std::runtime_error("an exception of the program's own");
      ::kill(::getpid(), fault.signal);
    }
  }
  /// From another thread, so many microseconds from now: in the middle of whatever the training thread does then.
  void soon(int rank, std::int64_t step) const {
    for (std::size_t i = 0; i < faults_.size(); ++i) {
      const Fault& fault = faults_[i];
      if (fault.rank != rank || fault.step != step || !fault.place.starts_with("+") || !is_first(i)) continue;
      std::thread([delay = std::stoi(fault.place.substr(1)), signal = fault.signal] {
        std::this_thread::sleep_for(std::chrono::microseconds(delay));
        ::kill(::getpid(), signal);
      }).detach();
    }
  }

 private:
  bool is_first(std::size_t index) const {
    if (folder_.empty()) return true;
    const std::string mark = folder_ + "/fault-" + std::to_string(index);
    const int fd = ::open(mark.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd >= 0) ::close(fd);
    return fd >= 0;
  }

  std::vector<Fault> faults_;
  const std::string folder_;
};

struct Arguments {
  std::int64_t steps = 200;
  int hold_ms = 0;
  std::string slow;
  std::string optimizer = "sgd", marks;
  std::vector<std::string> faults;
};

CLI::App& declare(CLI::App& app, Arguments& a) {
  app.add_option("--steps", a.steps);
  app.add_option("--hold-ms", a.hold_ms, "each step lasts at least so long");
  app.add_option("--slow", a.slow, "RANK:FROM:TO:MS: the rank's steps FROM to TO last so much longer");
  app.add_option("--optimizer", a.optimizer, "sgd or adam");
  app.add_option("--marks", a.marks, "a folder that remembers which faults have struck; none: they strike every time");
  app.add_option(
      "--fault", a.faults,
      "RANK:STEP:PLACE[:SIGNAL]; places: start, forward, backward, hook, after, stepped, epoch, end, or +N: N "
      "microseconds into backward; signal 0: an exception. In place of a signal: pause (then milliseconds) and spin, "
      "before the forward");
  return app;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::string& name, const Net& net) {
  if (name == "adam") return std::make_unique<torch::optim::Adam>(net->parameters(), torch::optim::AdamOptions(0.002));
  return std::make_unique<torch::optim::SGD>(net->parameters(), torch::optim::SGDOptions(0.02).momentum(0.9));
}

/// How much longer this step of this rank lasts.
std::chrono::milliseconds delay_of(const std::string& slow, int rank, std::int64_t step) {
  int who = -1, ms = 0;
  std::int64_t from = 0, to = -1;
  char colon = 0;
  std::istringstream(slow) >> who >> colon >> from >> colon >> to >> colon >> ms;
  return std::chrono::milliseconds(who == rank && from <= step && step <= to ? ms : 0);
}

void train(const Arguments& arguments, tutti::Session& session) {
  const Faults faults(arguments.faults, arguments.marks);
  const int rank = session.rank();
  faults.at(rank, 0, "start");
  Net net;
  const auto optimizer = make_optimizer(arguments.optimizer, net);
  torch::optim::StepLR schedule(*optimizer, 2, 0.5);
  tutti::DataParallel parallel(session, net, *optimizer);
  parallel.schedule(schedule);
  double losses = 0;
  parallel.at_end_of_epoch([&](std::int64_t epoch) {
    faults.at(rank, epoch, "epoch");
    losses = session.all_reduce(losses, tutti::Combine::kSum);
    parallel.step(schedule);
    losses = session.all_reduce(0.0, tutti::Combine::kSum);
  });
  Waves waves(static_cast<std::size_t>(kBatch * kStepsPerEpoch * session.world_size()));
  for (auto& batch : parallel.batches(waves, kBatch, arguments.steps / kStepsPerEpoch)) {
    const std::int64_t step = parallel.steps() - 1;
    if (arguments.hold_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(arguments.hold_ms));
    std::this_thread::sleep_for(delay_of(arguments.slow, rank, step));
    faults.at(rank, step, "pause");
    faults.at(rank, step, "spin");
    faults.at(rank, step, "forward");
    optimizer->zero_grad();
    const torch::Tensor scores = net(batch.data);
    scores.register_hook([&](const torch::Tensor&) { faults.at(rank, step, "hook"); });
    const torch::Tensor loss = torch::nn::functional::cross_entropy(scores, batch.target);
    faults.at(rank, step, "backward");
    faults.soon(rank, step);
    loss.backward();
    faults.at(rank, step, "after");
    optimizer->step();
    faults.at(rank, step, "stepped");
    losses += loss.item<double>();
  }
  const auto hashes = session.all_gather(parallel.state().model_hash());
  faults.at(rank, 0, "end");
  for (const std::string& hash : hashes) {
    if (hash != hashes[0]) throw tutti::MismatchError("the ranks end with different parameters");
  }
  if (rank != 0) return;
  std::printf("hash=%s steps=%ld ranks=%d exchange=%s\n", hashes[0].c_str(), static_cast<long>(parallel.steps()),
              session.world_size(), std::string(session.exchange()).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app;
  CLI11_PARSE(declare(app, arguments), argc, argv);
  tutti::Session session(argc, argv);
  train(arguments, session);
}
