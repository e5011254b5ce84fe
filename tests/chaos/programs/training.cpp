// SPDX-License-Identifier: Apache-2.0
// What the chaos tests torment: a small convolutional net with BatchNorm, dropout, momentum and a schedule, for so many
// steps; its ranks talk in collectives at the end of every epoch. A rank can be told to end itself at a place that no
// signal from outside would find, once: a file says that it has happened. The folder of marks has, for each rank, the
// lines "start PID NS" and, for each step that was made, "STEP NS"; for each fault a file with "RANK STEP NS" (NS: of
// the monotonic clock). The last line of rank 0 is "hash=... steps=N ranks=N exchange=X".
#include <dlfcn.h>
#include <fcntl.h>
#include <torch/torch.h>
#include <tutti/tutti.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
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

/// "1:37:forward:9": rank 1 gets signal 9 when step 37 is at that place. Instead of a signal: "throw", or "clock" (the
/// wall clock jumps by an hour, where tests/chaos/redirect is preloaded). With a "!" at its end it strikes at every
/// try. "1:37:pause:2000": it is stopped for 2 s before the forward. "1:37:spin": it works on there, for nothing, for
/// ever.
struct Fault {
  int rank = 0;
  std::int64_t step = 0;
  std::string place, blow = "9";
  bool every_time = false;
};

std::int64_t monotonic_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

void jump_wall_clock() {
  using Jump = void (*)(std::int64_t);
  const auto jump = reinterpret_cast<Jump>(::dlsym(RTLD_DEFAULT, "chaos_jump_wall_clock"));
  if (jump == nullptr) throw std::runtime_error("the wall clock cannot jump: nothing is preloaded");
  jump(3600);
}

[[noreturn]] void spin() {
  for (std::atomic<std::uint64_t> turns = 0;;) ++turns;
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

void strike(const Fault& fault) {
  if (fault.place == "pause") return pause_for(std::chrono::milliseconds(std::stoi(fault.blow)));
  if (fault.place == "spin") spin();
  if (fault.blow == "throw") throw std::runtime_error("an exception of the program's own");
  if (fault.blow == "clock") return jump_wall_clock();
  ::kill(::getpid(), std::stoi(fault.blow));
}

/// What this process has done, as lines in a file that outlives it.
class Diary {
 public:
  Diary(const std::string& folder, int rank) {
    if (folder.empty()) return;
    const std::string path = folder + "/rank-" + std::to_string(rank) + ".steps";
    fd_ = ::open(path.c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0644);
    write("start " + std::to_string(::getpid()));
  }
  ~Diary() {
    if (fd_ >= 0) ::close(fd_);
  }
  Diary(const Diary&) = delete;
  Diary& operator=(const Diary&) = delete;

  void done(std::int64_t step) const { write(std::to_string(step)); }

 private:
  void write(const std::string& what) const {
    if (fd_ < 0) return;
    const std::string line = what + " " + std::to_string(monotonic_ns()) + "\n";
    if (::write(fd_, line.data(), line.size()) < 0)
      throw std::runtime_error("the folder of marks cannot be written to");
  }
  int fd_ = -1;
};

Fault parse_fault(const std::string& text) {
  Fault fault;
  char colon = 0;
  std::istringstream in(text);
  in >> fault.rank >> colon >> fault.step >> colon;
  std::getline(in, fault.place, ':');
  in >> fault.blow;
  fault.every_time = fault.blow.ends_with('!');
  if (fault.every_time) fault.blow.pop_back();
  return fault;
}

class Faults {
 public:
  Faults(const std::vector<std::string>& faults, std::string folder) : folder_(std::move(folder)) {
    for (const std::string& text : faults) faults_.push_back(parse_fault(text));
  }

  void at(int rank, std::int64_t step, const std::string& place) const {
    for (std::size_t i = 0; i < faults_.size(); ++i) {
      const Fault& fault = faults_[i];
      if (fault.rank != rank || fault.step != step || fault.place != place) continue;
      if (fault.every_time || is_first(i)) strike(fault);
    }
  }
  /// From another thread, so many microseconds from now: in the middle of whatever the training thread does then.
  void soon(int rank, std::int64_t step) const {
    for (std::size_t i = 0; i < faults_.size(); ++i) {
      const Fault& fault = faults_[i];
      if (fault.rank != rank || fault.step != step || !fault.place.starts_with("+") || !is_first(i)) continue;
      std::thread([delay = std::stoi(fault.place.substr(1)), fault] {
        std::this_thread::sleep_for(std::chrono::microseconds(delay));
        strike(fault);
      }).detach();
    }
  }

 private:
  bool is_first(std::size_t index) const {
    if (folder_.empty()) throw std::runtime_error("a fault that strikes once needs a folder of marks");
    const std::string mark = folder_ + "/fault-" + std::to_string(index);
    const int fd = ::open(mark.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    const Fault& fault = faults_[index];
    ::dprintf(fd, "%d %ld %ld\n", fault.rank, static_cast<long>(fault.step), static_cast<long>(monotonic_ns()));
    ::close(fd);
    return true;
  }

  std::vector<Fault> faults_;
  const std::string folder_;
};

struct Arguments {
  std::int64_t steps = 200;
  int hold_ms = 0;
  std::string slow, optimizer = "sgd", marks;
  std::vector<std::string> faults;
};

CLI::App& declare(CLI::App& app, Arguments& a) {
  app.add_option("--steps", a.steps);
  app.add_option("--hold-ms", a.hold_ms, "each step lasts longer by so much");
  app.add_option("--slow", a.slow, "RANK:FROM:TO:MS: the rank's steps FROM to TO last so much longer");
  app.add_option("--optimizer", a.optimizer, "sgd or adam");
  app.add_option("--marks", a.marks, "a folder that remembers which faults have struck, and when each step was made");
  app.add_option("--fault", a.faults,
                 "RANK:STEP:PLACE[:BLOW]; places: start, forward, backward, hook, after, stepped, epoch, end, or +N: N "
                 "microseconds into backward, of step -1 into the end of the session; blows: a signal's number, throw, "
                 "clock, with ! every time; "
                 "before the forward also pause (then milliseconds) and spin");
  return app;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(const std::string& name, const Net& net) {
  if (name == "adam") return std::make_unique<torch::optim::Adam>(net->parameters(), torch::optim::AdamOptions(0.002));
  return std::make_unique<torch::optim::SGD>(net->parameters(), torch::optim::SGDOptions(0.02).momentum(0.9));
}

/// How much longer this step of this rank lasts.
std::chrono::milliseconds delay_of(const Arguments& arguments, int rank, std::int64_t step) {
  int who = -1, ms = 0;
  std::int64_t from = 0, to = -1;
  char colon = 0;
  std::istringstream(arguments.slow) >> who >> colon >> from >> colon >> to >> colon >> ms;
  return std::chrono::milliseconds(arguments.hold_ms + (who == rank && from <= step && step <= to ? ms : 0));
}

void train(const Arguments& arguments, tutti::Session& session) {
  const Faults faults(arguments.faults, arguments.marks);
  const int rank = session.rank();
  const Diary diary(arguments.marks, rank);
  faults.at(rank, 0, "start");
  Net net;
  const torch::Device device = session.device();
  net->to(device);
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
    std::this_thread::sleep_for(delay_of(arguments, rank, step));
    faults.at(rank, step, "pause");
    faults.at(rank, step, "spin");
    faults.at(rank, step, "forward");
    optimizer->zero_grad();
    const torch::Tensor scores = net(batch.data.to(device));
    scores.register_hook([&](const torch::Tensor&) { faults.at(rank, step, "hook"); });
    const torch::Tensor loss = torch::nn::functional::cross_entropy(scores, batch.target.to(device));
    faults.at(rank, step, "backward");
    faults.soon(rank, step);
    loss.backward();
    faults.at(rank, step, "after");
    optimizer->step();
    diary.done(step);
    faults.at(rank, step, "stepped");
    losses += loss.item<double>();
  }
  const auto hashes = session.all_gather(parallel.state().model_hash());
  faults.at(rank, 0, "end");
  for (const std::string& hash : hashes) {
    if (hash != hashes[0]) throw tutti::MismatchError("the ranks end with different parameters");
  }
  faults.soon(rank, -1);
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
