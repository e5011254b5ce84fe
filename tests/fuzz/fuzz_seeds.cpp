// SPDX-License-Identifier: Apache-2.0
// Writes the inputs that valid encoders make, valid-*, into the corpus of each target:
//   fuzz_seeds tests/fuzz/corpus
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "common/bootstrap.h"
#include "common/control/messages.h"
#include "common/manifest.h"
#include "common/safetensors.h"
#include "ps/messages.h"
#include "tests/fuzz/everything.h"
#include "tests/fuzz/seeds.h"
#include "worker/parameter_table.h"

namespace tutti::fuzz {
namespace {

namespace fs = std::filesystem;

template <class Number>
std::string little(Number number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}
std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
/// A text after its length, as Input::text() takes it.
std::string counted(const std::string& text) {
  return static_cast<char>(text.size()) + text;
}

class Corpus {
 public:
  explicit Corpus(const fs::path& folder) : folder_(folder) { fs::create_directories(folder); }
  void add(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / ("valid-" + name), std::ios::binary) << bytes;
  }

 private:
  fs::path folder_;
};

std::string frame(FrameType type, const std::string& control, const std::string& payload) {
  FrameHeader header;
  header.type = type;
  header.generation = 1;
  header.step = 12;
  header.sender = 2;
  header.control_bytes = static_cast<std::uint32_t>(control.size());
  header.payload_bytes = payload.size();
  header.crc = checksum(header, std::as_bytes(std::span(control)), std::as_bytes(std::span(payload)));
  return as_text(encode(header)) + control + payload;
}

void make_frame_reader(const Corpus& corpus) {
  const std::string pushes = frame(FrameType::kPush, "", std::string(300, 'x')) + frame(FrameType::kPush, "", "y");
  corpus.add("frames-whole", little(std::uint32_t{8}) + pushes);
  corpus.add("frames-to-repair", little(std::uint32_t{7}) + frame(FrameType::kOpen, "control", "") + pushes);
  corpus.add("frame-cut", little(std::uint32_t{2}) + pushes.substr(0, pushes.size() - 1));
}

void make_handshake(const Corpus& corpus) {
  const auto [hello, challenge, proof] = seed_conversation();
  const std::string even(1, '\0'), text = as_text(hello);
  corpus.add("to-server", little(std::uint16_t{0}) + even + text.substr(0, kMagicBytes) + even +
                              text.substr(kMagicBytes) + even + as_text(proof));
  corpus.add("to-client", little(std::uint16_t{1}) + even + as_text(challenge) + even + '\0');
  corpus.add("conversation", little(std::uint16_t{2}));
}

void make_control_messages(const Corpus& corpus) {
  std::uint16_t number = 0;
  const auto add = [&](const std::string& name, const std::string& bytes) {
    corpus.add(name, little(number++) + bytes);
  };
  const MemberId member{Role::kServer, 1};
  add("join", encode(Join{0, 30'000'000'000, 4, "node1"}));
  add("contribute", encode(Contribute{7, 1, {GatherKey::Kind::kRegroup, 2, 1}, "mine"}));
  add("store-request", encode(StoreRequest{8, 1, StoreVerb::kAdd, {"key", "other"}, "value", -3}));
  add("leave", encode(Leave{9, 1}));
  add("reply", encode(Reply{8, false, Errc::kTimeout, "rank 2 is missing", {"one", "two"}, 5}));
  add("abort", encode(Abort{Errc::kPeerLost, member, "shard 1 is gone"}));
  add("child-exited", encode(ChildExited{member, 9, 37, "its last words"}));
  add("shutdown", encode(Shutdown{75}));
  add("regroup", encode(Regroup{2, {member}, "shard 1 is gone"}));
  add("restart", encode(Restart{"cannot go on"}));
  add("start", encode(Start{member, 2, true}));
  add("evict", encode(Evict{member}));
  Bootstrap bootstrap;
  bootstrap.host = "node1";
  bootstrap.coordinator = {"127.0.0.1", 5000};
  bootstrap.secret = seed_secret();
  bootstrap.config.program = {"./train", "--epochs", "3"};
  add("bootstrap", encode(bootstrap));
  const std::vector<worker::TableTensor> tensors = {{"conv.weight", DType::kFloat32, {16, 1, 3, 3}, true}};
  add("parameter-table", encode(worker::ParameterTable{{{"threads", "1"}}, tensors, {}}));
  add("heartbeat", encode(Heartbeat{1'000'000, {{member, Activity::kWaiting, 37, 1, 2, 3}, {}}}));
  add("lease", encode(Lease{1'000'000}));
  add("unreachable", encode(Unreachable{{{member, 1'500'000'000}}}));
}

void make_shard_messages(const Corpus& corpus) {
  const ps::ObjectTable table{0, 1, 4, 2, 1 << 20, {{DType::kBFloat16, Reduction::kSum, 1000}, {}}, 2};
  corpus.add("open", little(std::uint16_t{0}) + encode(ps::OpenRequest{table, {"keeper", 1, 2}}));
  corpus.add("opened", little(std::uint16_t{1}) + encode(ps::Opened{1, 4, 0, "welcome", true}));
  corpus.add("missing", little(std::uint16_t{2}) + encode(ps::Missing{{0, 3}}));
  corpus.add("result-ranges", little(std::uint16_t{3}) + encode(ps::ResultRanges{{{0, 4096}, {8192, 10'000}}}));
  corpus.add("not-finite", little(std::uint16_t{4}) + encode(ps::NotFiniteResult{{{-1, 0}, {2, 4095}}}));
}

void make_bounded_archive(const Corpus& corpus) {
  corpus.add("empty", encode(Everything{}));
  Everything full{true, -1, 1LL << 40, 0.5f, DType::kInt8, {1, 2, 3}, "text", {true, false}, {{1}, {}, {2, 3}}, {}};
  full.named = {{"one", {"a", "b"}}, {"two", {}}};
  corpus.add("full", encode(full));
}

void make_manifest(const Corpus& corpus) {
  const Manifest manifest{42, {{"tensors.safetensors", 1000, std::string(64, 'a')}}, {{"epoch", "3"}}};
  corpus.add("text", little(std::uint16_t{0}) + print_manifest(manifest));
  const std::string file = counted("tensors.safetensors") + little(std::uint64_t{1000}) + counted("abcd");
  corpus.add("pieces", little(std::uint16_t{1}) + little(std::uint16_t{20}) + '\1' + little(std::uint64_t{42}) +
                           little(std::uint16_t{1}) + file + little(std::uint16_t{1}) + counted("note") +
                           counted("\xc3\xa9 \"quoted\"\n"));
}

void make_safetensors(const Corpus& corpus) {
  const std::string bytes(24, '\1');
  const auto all = std::as_bytes(std::span(bytes));
  const std::vector<NamedBytes> tensors = {{"weight", DType::kFloat32, {2, 2}, all.first(16)},
                                           {"seen", DType::kInt64, {}, all.subspan(16)},
                                           {"none", DType::kBool, {0, 7}, {}}};
  const auto header = make_tensor_header(tensors, {{"epoch", "3"}}).value();
  std::string file = header.bytes;
  for (const std::size_t i : header.order) file += as_text(tensors[i].bytes);
  corpus.add("tensors", file);
  corpus.add("nothing", make_tensor_header({}, {}).value().bytes);
}

void make_config(const Corpus& corpus) {
  using namespace std::string_literals;
  corpus.add("defaults", to_toml(RunConfig{}));
  const std::string file = "workers = 4  # a comment\nhosts = [\"node1\", 'node2:4']\ntimeout_s = 1e1\n";
  corpus.add("three-sources", file + "\0exchange=shm+ps\0TUTTI_SEED=7\0ports=5000-5100\0program=./train --epochs 3"s);
}

void make_hosts(const Corpus& corpus) {
  const auto placed = [](int workers, int shards, int where, int cores) {
    std::string numbers;
    for (const int number : {workers - 1, shards, where, cores}) numbers += little(static_cast<std::uint16_t>(number));
    return numbers;
  };
  using namespace std::string_literals;
  corpus.add("colocated", placed(5, 2, 0, 16) + "node1,node2:4\0005000-5100"s);
  corpus.add("spread", placed(3, 4, 1, 8) + "a.example:2,b_1,a.example\00010.0.0.7:5000"s);
  corpus.add("dedicated", placed(9, 2, 2, 64) + "n1,n2,n3,n4:2\0000"s);
}

int make_all(const fs::path& root) {
  make_frame_reader(Corpus(root / "frame_reader"));
  make_handshake(Corpus(root / "handshake"));
  make_control_messages(Corpus(root / "control_messages"));
  make_shard_messages(Corpus(root / "shard_messages"));
  make_bounded_archive(Corpus(root / "bounded_archive"));
  make_manifest(Corpus(root / "manifest"));
  make_safetensors(Corpus(root / "safetensors"));
  make_config(Corpus(root / "config"));
  make_hosts(Corpus(root / "hosts"));
  return 0;
}

}  // namespace
}  // namespace tutti::fuzz

int main(int argc, char** argv) {
  if (argc == 2) return tutti::fuzz::make_all(argv[1]);
  std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
  return 64;
}
