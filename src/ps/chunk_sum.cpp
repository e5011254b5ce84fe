// SPDX-License-Identifier: Apache-2.0
#include "ps/chunk_sum.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "ps/finite.h"
#include "ps/reduce.h"

namespace tutti::ps {

namespace {

constexpr std::uint64_t kBlockBytes = ChunkJournal::kBlockBytes;
static_assert(kBlockBytes % kChunkAlignment == 0, "a block is whole elements of every dtype");
static_assert(ChunkJournal::kParts == SumThreads::kHelpersMax + 1, "every thread that sums has a scratch");

void copy(const std::byte* from, const std::vector<std::byte*>& into, std::size_t bytes, CopyMeter* meter) {
  for (std::byte* place : into) {
    if (place == from) continue;
    std::memcpy(place, from, bytes);
    count_pass(meter, BytePass::kCopied, from, bytes);
    count_pass(meter, BytePass::kStored, place, bytes);
  }
}

/// Where one thread is in its part of a sum: its lists move on with it, so that a block costs no allocation.
class Part {
 public:
  Part(const ChunkSum& whole, CopyMeter* meter, NotFiniteElements& not_finite, std::size_t offset)
      : whole_(whole), meter_(meter), not_finite_(not_finite), offset_(offset), from_(whole.from), into_(whole.into) {
    move(offset);
  }

  void sum(std::size_t bytes) { sum_to(into_, bytes); }
  void sum_blocks(std::size_t bytes) {
    for_each_block(bytes, [this](std::uint32_t, std::size_t size) { sum_to(into_, size); });
  }
  /// `number` of the part.
  void sum_blocks(std::size_t bytes, SumJournal& journal, int number) {
    ChunkJournal& marks = *journal.journal;
    const std::vector<std::byte*> scratch{marks.scratch(journal.shard, number)};
    const std::uint32_t chunk = whole_.chunk.index;
    const auto first = static_cast<std::uint32_t>(offset_ / kBlockBytes);
    for_each_block(bytes, [&](std::uint32_t block, std::size_t size) {
      sum_to(scratch, size);
      marks.mark_summed(chunk, number, first, block);
      copy(scratch.front(), into_, size, meter_);
      marks.mark_copied(chunk, number, first, block + 1);
    });
  }

 private:
  template <class Work>
  void for_each_block(std::size_t bytes, Work work) {
    for (std::size_t left = bytes; left > 0;) {
      const std::size_t size = std::min<std::size_t>(kBlockBytes, left);
      work(static_cast<std::uint32_t>(offset_ / kBlockBytes), size);
      move(size);
      offset_ += size;
      left -= size;
    }
  }
  void move(std::size_t bytes) {
    for (auto& place : from_) place += bytes;
    for (auto& place : into_) place += bytes;
  }
  /// Where the result of what comes next lies already.
  const std::byte* known() const {
    for (const ChunkSum::Known& known : whole_.known) {
      if (contains(known.ranges, offset_)) return known.at + offset_;
    }
    return nullptr;
  }
  void sum_to(const std::vector<std::byte*>& into, std::size_t bytes) const {
    if (const std::byte* result = known()) return copy_result(result, NotFiniteElement::kNobody, into, bytes);
    if (from_.size() == 1)
      return copy_result(from_.front(), whole_.is_result ? NotFiniteElement::kNobody : 0, into, bytes);
    for (const std::byte* place : from_) count_pass(meter_, BytePass::kSummed, place, bytes);
    reduce(into, bytes);
    for (const std::byte* place : into) count_pass(meter_, BytePass::kStored, place, bytes);
  }
  void copy_result(const std::byte* from, std::int32_t rank, const std::vector<std::byte*>& into,
                   std::size_t bytes) const {
    const Chunk& chunk = whole_.chunk;
    const std::size_t size = size_of(chunk.dtype);
    const bool is_sum = chunk.reduction != Reduction::kBroadcast;
    if (const auto found = is_sum ? first_not_finite(chunk.dtype, from, bytes / size) : std::nullopt)
      not_finite_.note({rank, offset_ / size + *found});
    copy(from, into, bytes, meter_);
  }
  // What is not finite stops the sum once; the rest is as it comes.
  void reduce(const std::vector<std::byte*>& into, std::size_t bytes) const {
    const DType dtype = whole_.chunk.dtype;
    const Reduction reduction = whole_.chunk.reduction;
    const std::size_t size = size_of(dtype), elements = bytes / size;
    const std::size_t summed = reduce_to_all_while_finite(dtype, reduction, from_, into, bytes);
    if (summed == elements) return;
    blame_not_finite(dtype, reduction, from_, summed, elements, [&](auto rank, std::size_t element) {
      not_finite_.note({rank ? static_cast<std::int32_t>(*rank) : NotFiniteElement::kNobody, offset_ / size + element});
    });
    std::vector<const std::byte*> from = from_;
    std::vector<std::byte*> rest = into;
    for (const std::byte*& place : from) place += summed * size;
    for (std::byte*& place : rest) place += summed * size;
    reduce_to_all(dtype, reduction, from, rest, bytes - summed * size);
  }

  const ChunkSum& whole_;
  CopyMeter* const meter_;
  NotFiniteElements& not_finite_;
  std::size_t offset_;
  std::vector<const std::byte*> from_;
  std::vector<std::byte*> into_;
};

void run(std::uint64_t bytes, std::uint64_t unit, const SumTools& tools, const SumThreads::Work& work) {
  if (tools.threads == nullptr) return work(0, bytes);
  tools.threads->run(bytes, unit, work);
}

}  // namespace

void sum(const ChunkSum& chunk_sum, const SumTools& tools, NotFiniteElements& not_finite) {
  const bool is_whole = chunk_sum.known.empty();
  run(chunk_sum.chunk.bytes, is_whole ? kChunkAlignment : kBlockBytes, tools,
      [&](std::size_t offset, std::size_t bytes) {
        Part part(chunk_sum, tools.meter, not_finite, offset);
        is_whole ? part.sum(bytes) : part.sum_blocks(bytes);
      });
}

void sum(const ChunkSum& chunk_sum, const SumTools& tools, NotFiniteElements& not_finite, SumJournal& journal,
         const Round& round) {
  journal.journal->begin(chunk_sum.chunk.index, stamp_of(journal.generation, round));
  std::atomic<int> parts = 0;
  run(chunk_sum.chunk.bytes, kBlockBytes, tools, [&](std::size_t offset, std::size_t bytes) {
    Part(chunk_sum, tools.meter, not_finite, offset).sum_blocks(bytes, journal, parts++);
  });
}

}  // namespace tutti::ps
