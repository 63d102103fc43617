#include "brume/http/message.h"

#include <algorithm>

#include "brume/base/strings.h"

namespace brume::http {

namespace {

template <typename Fields, typename Same>
std::vector<std::string_view> values_of(const Fields& fields, const Same& same) {
  std::vector<std::string_view> values;
  for (const auto& [name, value] : fields) {
    if (same(name)) values.emplace_back(value);
  }
  return values;
}

}  // namespace

std::string_view Headers::get(std::string_view name) const {
  for (const auto& [key, value] : fields_) {
    if (iequals(key, name)) return value;
  }
  return {};
}

bool Headers::has(std::string_view name) const {
  return std::ranges::any_of(fields_, [&](const auto& field) { return iequals(field.first, name); });
}

std::vector<std::string_view> Headers::get_all(std::string_view name) const {
  return values_of(fields_, [&](std::string_view key) { return iequals(key, name); });
}

bool Headers::has_token(std::string_view name, std::string_view token) const {
  for (const auto& [key, value] : fields_) {
    if (!iequals(key, name)) continue;
    for (const auto part : split(value, ',')) {
      if (iequals(trim(part), token)) return true;
    }
  }
  return false;
}

void Headers::set(std::string_view name, std::string value) {
  remove(name);
  fields_.emplace_back(std::string(name), std::move(value));
}

void Headers::remove(std::string_view name) {
  std::erase_if(fields_, [&](const auto& field) { return iequals(field.first, name); });
}

std::optional<Query> Query::parse(std::string_view text) {
  Query query;
  if (text.empty()) return query;
  for (const auto part : split(text, '&')) {
    if (part.empty()) continue;
    const auto equals = part.find('=');
    auto name = url_decode(part.substr(0, equals), true);
    auto value = url_decode(equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1), true);
    if (!name || !value) return std::nullopt;
    query.add(std::move(*name), std::move(*value));
  }
  return query;
}

std::string_view Query::get(std::string_view name) const {
  for (const auto& [key, value] : fields_) {
    if (key == name) return value;
  }
  return {};
}

bool Query::has(std::string_view name) const {
  return std::ranges::any_of(fields_, [&](const auto& field) { return field.first == name; });
}

std::vector<std::string_view> Query::get_all(std::string_view name) const {
  return values_of(fields_, [&](std::string_view key) { return key == name; });
}

bool Query::is_true(std::string_view name) const {
  const auto value = get(name);
  return value == "true" || value == "1";
}

std::string Query::encode() const {
  std::string out;
  for (const auto& [key, value] : fields_) {
    if (!out.empty()) out += '&';
    out += url_encode(key);
    out += '=';
    out += url_encode(value);
  }
  return out;
}

std::size_t Response::body_size() const {
  std::size_t size = body.size();
  for (const auto piece : more) size += piece.size();
  return size;
}

}  // namespace brume::http
