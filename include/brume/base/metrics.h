// Counters, gauges and histograms, printed as Prometheus text (exposition format 0.0.4).
// Metrics are the one global beside the log. A metric, once made, lives as long as the process: keep the reference.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

namespace brume::metrics {

/// A value that only grows. Thread-safe; one relaxed atomic add.
class Counter {
 public:
  void add(std::uint64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_ = 0;
};

/// A value that goes up and down. Thread-safe.
class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double difference) { value_.fetch_add(difference, std::memory_order_relaxed); }
  [[nodiscard]] double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

/// Observations counted in buckets of upper bounds. Thread-safe; a reader may see an observation in the count a moment
/// before it sees it in the sum.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);
  void observe(double value);
  [[nodiscard]] const std::vector<double>& bounds() const { return bounds_; }
  [[nodiscard]] std::uint64_t bucket(std::size_t index) const { return counts_[index].load(std::memory_order_relaxed); }
  [[nodiscard]] double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::vector<double> bounds_;  ///< ascending; a last bucket without bound is implied
  std::unique_ptr<std::atomic<std::uint64_t>[]> counts_;
  std::atomic<double> sum_ = 0;
};

/// Bounds in seconds for request durations, 0.5 ms to 60 s.
[[nodiscard]] std::vector<double> duration_bounds();

/// All metrics of one name, told apart by label values. Thread-safe. with() takes a shared lock and a map look-up:
/// where it matters, keep what it returns. Label values must come from a small closed set (verbs, codes, resources),
/// never from what a client sends.
template <typename Metric>
class Family {
 public:
  Family(std::vector<std::string> label_names, std::function<std::unique_ptr<Metric>()> make)
      : label_names_(std::move(label_names)), make_(std::move(make)) {}

  /// The metric for these label values, in the order of the names; made at the first call.
  Metric& with(std::initializer_list<std::string_view> values) {
    const std::vector<std::string> key(values.begin(), values.end());
    {
      const std::shared_lock lock(mutex_);
      if (auto found = metrics_.find(key); found != metrics_.end()) return *found->second;
    }
    const std::unique_lock lock(mutex_);
    auto& slot = metrics_[key];
    if (!slot) slot = make_();
    return *slot;
  }

  [[nodiscard]] const std::vector<std::string>& label_names() const { return label_names_; }
  void for_each(const std::function<void(const std::vector<std::string>& values, const Metric&)>& visit) const {
    const std::shared_lock lock(mutex_);
    for (const auto& [values, metric] : metrics_) visit(values, *metric);
  }

 private:
  std::vector<std::string> label_names_;
  std::function<std::unique_ptr<Metric>()> make_;
  mutable std::shared_mutex mutex_;
  std::map<std::vector<std::string>, std::unique_ptr<Metric>> metrics_;
};

/// Names to families. Thread-safe. Asking again for a name gives the same family; asking for it as another type or with
/// other labels is a bug and aborts.
class Registry {
 public:
  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  Family<Counter>& counters(std::string name, std::string help, std::vector<std::string> label_names);
  Family<Gauge>& gauges(std::string name, std::string help, std::vector<std::string> label_names);
  Family<Histogram>& histograms(std::string name, std::string help, std::vector<std::string> label_names,
                                std::vector<double> bounds = duration_bounds());
  /// The same without labels.
  Counter& counter(std::string name, std::string help) {
    return counters(std::move(name), std::move(help), {}).with({});
  }
  Gauge& gauge(std::string name, std::string help) { return gauges(std::move(name), std::move(help), {}).with({}); }
  Histogram& histogram(std::string name, std::string help, std::vector<double> bounds = duration_bounds()) {
    return histograms(std::move(name), std::move(help), {}, std::move(bounds)).with({});
  }
  /// A gauge whose value is asked for at each print; `read` must be thread-safe and quick.
  void gauge_from(std::string name, std::string help, std::function<double()> read);

  /// Everything, sorted by name. Content type: text/plain; version=0.0.4.
  [[nodiscard]] std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The process's registry: what /metrics prints.
Registry& registry();

}  // namespace brume::metrics
