#include "brume/base/metrics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <variant>

namespace brume::metrics {
namespace {

void append_number(std::string& out, double value) {
  if (std::isnan(value) || std::isinf(value)) {
    out.append(std::isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
    return;
  }
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  out.append(text.data(), end);
}

/// The format escapes backslash and line feed in help texts, and the double quote too in label values.
void append_escaped(std::string& out, std::string_view text, bool quoted) {
  for (const char c : text) {
    if (c == '\\')
      out.append("\\\\");
    else if (c == '\n')
      out.append("\\n");
    else if (c == '"' && quoted)
      out.append("\\\"");
    else
      out.push_back(c);
  }
}

using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

void append_sample(std::string& out, std::string_view name, const Labels& labels, double value) {
  out.append(name);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    out.append(i == 0 ? "{" : ",").append(labels[i].first).append("=\"");
    append_escaped(out, labels[i].second, true);
    out.push_back('"');
  }
  if (!labels.empty()) out.push_back('}');
  out.push_back(' ');
  append_number(out, value);
  out.push_back('\n');
}

Labels pair_up(const std::vector<std::string>& names, const std::vector<std::string>& values) {
  Labels labels;
  for (std::size_t i = 0; i < std::min(names.size(), values.size()); ++i) labels.emplace_back(names[i], values[i]);
  return labels;
}

void append_histogram(std::string& out, const std::string& name, Labels labels, const Histogram& histogram) {
  std::uint64_t cumulative = 0;
  for (std::size_t i = 0; i <= histogram.bounds().size(); ++i) {
    cumulative += histogram.bucket(i);
    std::string bound;
    if (i < histogram.bounds().size())
      append_number(bound, histogram.bounds()[i]);
    else
      bound = "+Inf";
    labels.emplace_back("le", bound);
    append_sample(out, name + "_bucket", labels, static_cast<double>(cumulative));
    labels.pop_back();
  }
  append_sample(out, name + "_sum", labels, histogram.sum());
  append_sample(out, name + "_count", labels, static_cast<double>(cumulative));
}

using AnyFamily = std::variant<std::unique_ptr<Family<Counter>>, std::unique_ptr<Family<Gauge>>,
                               std::unique_ptr<Family<Histogram>>, std::function<double()>>;
constexpr std::array kTypeNames = {"counter", "gauge", "histogram", "gauge"};

[[noreturn]] void clash(const std::string& name) {
  std::fprintf(stderr, "brume: metric %s was asked for as another type or with other labels\n", name.c_str());
  std::abort();
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(std::make_unique<std::atomic<std::uint64_t>[]>(bounds_.size() + 1)) {}

void Histogram::observe(double value) {
  const auto at = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  counts_[static_cast<std::size_t>(at)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

std::vector<double> duration_bounds() {
  return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}

struct Registry::State {
  struct Entry {
    std::string help;
    AnyFamily family;
  };
  mutable std::mutex mutex;
  std::map<std::string, Entry> entries;

  template <typename Metric>
  Family<Metric>& family(std::string name, std::string help, std::vector<std::string> labels,
                         std::function<std::unique_ptr<Metric>()> make) {
    const std::lock_guard lock(mutex);
    auto found = entries.find(name);
    if (found == entries.end()) {
      auto made = std::make_unique<Family<Metric>>(std::move(labels), std::move(make));
      auto& reference = *made;
      entries.emplace(std::move(name), Entry{std::move(help), AnyFamily(std::move(made))});
      return reference;
    }
    auto* family = std::get_if<std::unique_ptr<Family<Metric>>>(&found->second.family);
    if (family == nullptr || (*family)->label_names() != labels) clash(name);
    return **family;
  }
};

Registry::Registry() : state_(std::make_unique<State>()) {}
Registry::~Registry() = default;

Family<Counter>& Registry::counters(std::string name, std::string help, std::vector<std::string> label_names) {
  return state_->family<Counter>(std::move(name), std::move(help), std::move(label_names),
                                 [] { return std::make_unique<Counter>(); });
}

Family<Gauge>& Registry::gauges(std::string name, std::string help, std::vector<std::string> label_names) {
  return state_->family<Gauge>(std::move(name), std::move(help), std::move(label_names),
                               [] { return std::make_unique<Gauge>(); });
}

Family<Histogram>& Registry::histograms(std::string name, std::string help, std::vector<std::string> label_names,
                                        std::vector<double> bounds) {
  return state_->family<Histogram>(std::move(name), std::move(help), std::move(label_names),
                                   [bounds = std::move(bounds)] { return std::make_unique<Histogram>(bounds); });
}

void Registry::gauge_from(std::string name, std::string help, std::function<double()> read) {
  const std::lock_guard lock(state_->mutex);
  state_->entries.insert_or_assign(std::move(name), State::Entry{std::move(help), AnyFamily(std::move(read))});
}

std::string Registry::text() const {
  const std::lock_guard lock(state_->mutex);
  std::string out;
  for (const auto& [name, entry] : state_->entries) {
    out.append("# HELP ").append(name).push_back(' ');
    append_escaped(out, entry.help, false);
    out.append("\n# TYPE ").append(name).append(" ").append(kTypeNames[entry.family.index()]).push_back('\n');
    if (const auto* counters = std::get_if<0>(&entry.family)) {
      (*counters)->for_each([&, &n = name](const auto& values, const Counter& counter) {
        append_sample(out, n, pair_up((*counters)->label_names(), values), static_cast<double>(counter.value()));
      });
    } else if (const auto* gauges = std::get_if<1>(&entry.family)) {
      (*gauges)->for_each([&, &n = name](const auto& values, const Gauge& gauge) {
        append_sample(out, n, pair_up((*gauges)->label_names(), values), gauge.value());
      });
    } else if (const auto* histograms = std::get_if<2>(&entry.family)) {
      (*histograms)->for_each([&, &n = name](const auto& values, const Histogram& histogram) {
        append_histogram(out, n, pair_up((*histograms)->label_names(), values), histogram);
      });
    } else {
      append_sample(out, name, {}, std::get<3>(entry.family)());
    }
  }
  return out;
}

Registry& registry() {
  static Registry* const instance = new Registry;  // never destroyed: threads may count until the very end
  return *instance;
}

}  // namespace brume::metrics
