// SPDX-License-Identifier: Apache-2.0
#include "common/manifest.h"

#include <boost/json.hpp>
#include <span>
#include <stdexcept>

namespace tutti {
namespace {

namespace json = boost::json;

constexpr std::string_view kHashKey = "sha256";

json::object as_json(const Manifest& manifest) {
  json::array files;
  for (const ManifestFile& file : manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  json::object metadata;
  for (const auto& [key, value] : manifest.metadata) metadata.emplace(key, value);
  return {{"format", kCheckpointFormat}, {"step", manifest.step}, {"files", files}, {"metadata", metadata}};
}

// Throws where the text is of another shape.
Manifest from_json(const json::object& object) {
  if (object.at("format").as_int64() != kCheckpointFormat) throw std::runtime_error("it is of another format");
  Manifest manifest;
  manifest.step = object.at("step").to_number<std::uint64_t>();
  for (const json::value& value : object.at("files").as_array()) {
    const json::object& file = value.as_object();
    manifest.files.push_back({std::string(file.at("name").as_string()), file.at("bytes").to_number<std::uint64_t>(),
                              std::string(file.at("sha256").as_string())});
  }
  for (const auto& [key, value] : object.at("metadata").as_object()) {
    manifest.metadata.emplace(key, std::string_view(value.as_string()));
  }
  return manifest;
}

}  // namespace

std::string print_manifest(const Manifest& manifest) {
  json::object object = as_json(manifest);
  const std::string unsigned_text = json::serialize(object);
  object.emplace(kHashKey, hex(sha256(std::as_bytes(std::span(unsigned_text)))));
  return json::serialize(object) + "\n";
}

Result<Manifest> parse_manifest(std::string_view text) {
  json::parse_options as_written;
  as_written.allow_invalid_utf8 = true;  // a path in the configuration may be any bytes; the hash covers them
  try {
    Manifest manifest = from_json(json::parse(text, {}, as_written).as_object());
    if (print_manifest(manifest) == text) return manifest;
    return fail(Errc::kBadData, "the manifest is not what its hash was made of");
  } catch (const std::exception& error) {
    return fail(Errc::kBadData, error.what()).wrap("the manifest is torn or no manifest");
  }
}

}  // namespace tutti
