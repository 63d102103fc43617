#include <algorithm>
#include <array>
#include <optional>
#include <tuple>

#include "api/names.h"
#include "brume/api/selector.h"
#include "brume/base/json.h"
#include "brume/base/strings.h"

namespace brume::api {

namespace {

using Op = LabelSelector::Op;
using Requirement = LabelSelector::Requirement;

std::unexpected<Error> bad(std::string message) { return fail(Code::kBadRequest, std::move(message)); }

std::string json_quoted(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

enum class Token {
  kEnd,
  kIdentifier,
  kOpen,
  kClose,
  kComma,
  kNot,
  kEquals,
  kDoubleEquals,
  kNotEquals,
  kIn,
  kNotIn,
  kGreater,
  kLess,
  kBad
};

struct Lexeme {
  Token token = Token::kEnd;
  std::string_view text;
};

class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  // `as_values`: in and notin are plain words.
  Lexeme next(bool as_values = false) {
    Lexeme lexeme = peek(as_values);
    pos_ = after_;
    return lexeme;
  }

  Lexeme peek(bool as_values = false) {
    after_ = pos_;
    while (after_ < text_.size() && is_space(text_[after_])) ++after_;
    if (after_ >= text_.size()) return {Token::kEnd, ""};
    return is_special(text_[after_]) ? symbol() : word(as_values);
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
  static bool is_special(char c) { return std::string_view("=!(),><").find(c) != std::string_view::npos; }

  Lexeme symbol() {
    auto begin = after_;
    while (after_ < text_.size() && is_special(text_[after_])) ++after_;
    // The longest known symbol at the front of the run.
    auto run = text_.substr(begin, after_ - begin);
    constexpr std::array<std::pair<std::string_view, Token>, 9> kSymbols = {{{"==", Token::kDoubleEquals},
                                                                             {"!=", Token::kNotEquals},
                                                                             {"=", Token::kEquals},
                                                                             {"!", Token::kNot},
                                                                             {"(", Token::kOpen},
                                                                             {")", Token::kClose},
                                                                             {",", Token::kComma},
                                                                             {">", Token::kGreater},
                                                                             {"<", Token::kLess}}};
    for (const auto& [symbol, token] : kSymbols) {
      if (!run.starts_with(symbol)) continue;
      after_ = begin + symbol.size();
      return {token, symbol};
    }
    return {Token::kBad, run};
  }

  Lexeme word(bool as_values) {
    auto begin = after_;
    while (after_ < text_.size() && !is_space(text_[after_]) && !is_special(text_[after_])) ++after_;
    auto text = text_.substr(begin, after_ - begin);
    if (!as_values && text == "in") return {Token::kIn, text};
    if (!as_values && text == "notin") return {Token::kNotIn, text};
    return {Token::kIdentifier, text};
  }

  std::string_view text_;
  std::size_t pos_ = 0, after_ = 0;
};

Result<Requirement> make_requirement(std::string key, Op op, std::vector<std::string> values) {
  if (auto wrong = check_qualified_name(key); !wrong.empty())
    return bad("key: Invalid value: " + json_quoted(key) + ": " + wrong);
  bool set = op == Op::kIn || op == Op::kNotIn;
  if (set && values.empty())
    return bad("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty");
  for (std::size_t i = 0; i < values.size(); ++i) {
    auto field = "values[" + std::to_string(i) + "][" + key + "]: Invalid value: " + json_quoted(values[i]) + ": ";
    if ((op == Op::kGreaterThan || op == Op::kLessThan) && !parse_int(values[i])) {
      return bad(field + "for 'Gt', 'Lt' operators, the value must be an integer");
    }
    if (auto wrong = check_label_value(values[i]); !wrong.empty()) return bad(field + wrong);
  }
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return Requirement{std::move(key), op, std::move(values)};
}

// Recursive descent over the grammar of the labels package.
class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_(text) {}

  Result<std::vector<Requirement>> parse() {
    std::vector<Requirement> out;
    while (true) {
      auto lexeme = lexer_.peek();
      if (lexeme.token == Token::kEnd) return out;
      if (lexeme.token != Token::kIdentifier && lexeme.token != Token::kNot) {
        return expected(lexeme, "!, identifier, or 'end of string'");
      }
      auto requirement = parse_requirement();
      if (!requirement) return fail(wrap(std::move(requirement.error()), "unable to parse requirement"));
      out.push_back(std::move(*requirement));
      auto separator = lexer_.next();
      if (separator.token == Token::kEnd) return out;
      if (separator.token != Token::kComma) return expected(separator, "',' or 'end of string'");
      auto after = lexer_.peek();
      if (after.token != Token::kIdentifier && after.token != Token::kNot) {
        return expected(after, "identifier after ','");
      }
    }
  }

 private:
  static std::unexpected<Error> expected(const Lexeme& found, std::string_view what) {
    return bad("found '" + std::string(found.text) + "', expected: " + std::string(what));
  }

  Result<Requirement> parse_requirement() {
    auto lexeme = lexer_.next();
    bool negated = lexeme.token == Token::kNot;
    if (negated) lexeme = lexer_.next();
    if (lexeme.token != Token::kIdentifier) return expected(lexeme, "identifier");
    std::string key(lexeme.text);
    auto after = lexer_.peek().token;
    if (negated) return make_requirement(std::move(key), Op::kDoesNotExist, {});
    if (after == Token::kEnd || after == Token::kComma) return make_requirement(std::move(key), Op::kExists, {});
    // A bad key is the first error that Kubernetes names.
    BRUME_CHECK(make_requirement(key, Op::kExists, {}));
    auto symbol = lexer_.next();
    auto op = op_of(symbol.token);
    if (!op) return expected(symbol, "in, notin, =, ==, !=, gt, lt");
    std::vector<std::string> values;
    if (*op == Op::kIn || *op == Op::kNotIn) {
      BRUME_TRY(values, parse_values());
    } else {
      BRUME_TRY(auto value, parse_exact_value());
      values.push_back(std::move(value));
    }
    return make_requirement(std::move(key), *op, std::move(values));
  }

  static std::optional<Op> op_of(Token token) {
    switch (token) {
      case Token::kIn: return Op::kIn;
      case Token::kNotIn: return Op::kNotIn;
      case Token::kEquals:
      case Token::kDoubleEquals: return Op::kEquals;
      case Token::kNotEquals: return Op::kNotEquals;
      case Token::kGreater: return Op::kGreaterThan;
      case Token::kLess: return Op::kLessThan;
      default: return std::nullopt;
    }
  }

  Result<std::string> parse_exact_value() {
    auto lexeme = lexer_.peek(true);
    if (lexeme.token == Token::kEnd || lexeme.token == Token::kComma) return std::string();
    lexer_.next(true);
    if (lexeme.token != Token::kIdentifier) return expected(lexeme, "identifier");
    return std::string(lexeme.text);
  }

  // (a,b): empty places between commas are the empty value.
  Result<std::vector<std::string>> parse_values() {
    std::vector<std::string> values;
    auto lexeme = lexer_.next(true);
    if (lexeme.token != Token::kOpen) return bad("found '" + std::string(lexeme.text) + "' expected: '('");
    std::string current;
    bool have = false;
    while (true) {
      lexeme = lexer_.next(true);
      if (lexeme.token == Token::kIdentifier && !have) {
        current = lexeme.text;
        have = true;
      } else if (lexeme.token == Token::kComma || lexeme.token == Token::kClose) {
        values.push_back(std::exchange(current, {}));
        have = false;
        if (lexeme.token == Token::kClose) return values;
      } else {
        return expected(lexeme, have ? "',' or ')'" : "',', ')' or identifier");
      }
    }
  }

  Lexer lexer_;
};

bool contains(const std::vector<std::string>& values, std::string_view value) {
  return std::binary_search(values.begin(), values.end(), value, std::less<>());
}

bool matches_value(const Requirement& requirement, std::optional<std::string_view> value) {
  switch (requirement.op) {
    case Op::kIn:
    case Op::kEquals: return value && contains(requirement.values, *value);
    case Op::kNotIn:
    case Op::kNotEquals: return !value || !contains(requirement.values, *value);
    case Op::kExists: return value.has_value();
    case Op::kDoesNotExist: return !value;
    case Op::kGreaterThan:
    case Op::kLessThan: {
      auto have = value ? parse_int(*value) : std::nullopt;
      auto want = parse_int(requirement.values.front());
      if (!have || !want) return false;
      return requirement.op == Op::kGreaterThan ? *have > *want : *have < *want;
    }
  }
  return false;
}

Result<Requirement> from_expression(const Json& expression) {
  auto op_text = str(expression, "operator");
  std::optional<Op> op;
  if (op_text == "In") op = Op::kIn;
  if (op_text == "NotIn") op = Op::kNotIn;
  if (op_text == "Exists") op = Op::kExists;
  if (op_text == "DoesNotExist") op = Op::kDoesNotExist;
  if (!op) return bad(json_quoted(op_text) + " is not a valid label selector operator");
  std::vector<std::string> values;
  const Json& list = at(expression, "values");
  if (list.is_array()) {
    for (const Json& value : list) values.emplace_back(str(value));
  }
  if ((*op == Op::kExists || *op == Op::kDoesNotExist) && !values.empty()) {
    return bad("values: Invalid value: values set must be empty for exists and does not exist");
  }
  return make_requirement(std::string(str(expression, "key")), *op, std::move(values));
}

void sort_by_key(std::vector<Requirement>& requirements) {
  std::ranges::sort(requirements, {}, [](const Requirement& requirement) {
    return std::tie(requirement.key, requirement.op, requirement.values);
  });
}

}  // namespace

LabelSelector LabelSelector::nothing() {
  LabelSelector selector;
  selector.nothing_ = true;
  return selector;
}

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  LabelSelector selector;
  BRUME_TRY(selector.requirements_, Parser(text).parse());
  sort_by_key(selector.requirements_);
  return selector;
}

Result<LabelSelector> LabelSelector::from_json(const Json& json) {
  if (!json.is_object()) return nothing();
  LabelSelector selector;
  const Json& labels = at(json, "matchLabels");
  if (labels.is_object()) {
    for (const auto& [key, value] : labels.items()) {
      BRUME_TRY(auto requirement, make_requirement(key, Op::kEquals, {std::string(str(value))}));
      selector.requirements_.push_back(std::move(requirement));
    }
  }
  const Json& expressions = at(json, "matchExpressions");
  if (expressions.is_array()) {
    for (const Json& expression : expressions) {
      BRUME_TRY(auto requirement, from_expression(expression));
      selector.requirements_.push_back(std::move(requirement));
    }
  }
  sort_by_key(selector.requirements_);
  return selector;
}

LabelSelector LabelSelector::from_map(const Json& map) {
  LabelSelector selector;
  if (!map.is_object()) return selector;
  for (const auto& [key, value] : map.items()) {
    selector.requirements_.push_back({key, Op::kEquals, {std::string(str(value))}});
  }
  return selector;
}

bool LabelSelector::matches(const StringMap& labels) const {
  if (nothing_) return false;
  return std::all_of(requirements_.begin(), requirements_.end(), [&labels](const Requirement& requirement) {
    auto it = std::lower_bound(labels.begin(), labels.end(), requirement.key,
                               [](const auto& pair, const std::string& key) { return pair.first < key; });
    bool found = it != labels.end() && it->first == requirement.key;
    return matches_value(requirement, found ? std::optional<std::string_view>(it->second) : std::nullopt);
  });
}

bool LabelSelector::matches_json(const Json& labels) const {
  if (nothing_) return false;
  return std::all_of(requirements_.begin(), requirements_.end(), [&labels](const Requirement& requirement) {
    const Json& value = at(labels, requirement.key);
    return matches_value(requirement, value.is_string() ? std::optional(str(value)) : std::nullopt);
  });
}

std::string LabelSelector::to_string() const {
  std::string out;
  for (const auto& requirement : requirements_) {
    if (!out.empty()) out += ',';
    if (requirement.op == Op::kDoesNotExist) out += '!';
    out += requirement.key;
    switch (requirement.op) {
      case Op::kEquals: out += '='; break;
      case Op::kNotEquals: out += "!="; break;
      case Op::kGreaterThan: out += '>'; break;
      case Op::kLessThan: out += '<'; break;
      case Op::kIn: out += " in ("; break;
      case Op::kNotIn: out += " notin ("; break;
      default: continue;
    }
    out += join(requirement.values, ",");
    if (requirement.op == Op::kIn || requirement.op == Op::kNotIn) out += ')';
  }
  return out;
}

}  // namespace brume::api
