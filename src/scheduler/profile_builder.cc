// From a profile's configuration to its plugins, as kube-scheduler merges defaults, multiPoint and single points.
#include <algorithm>
#include <bit>
#include <set>

#include "config.h"
#include "registry.h"

namespace brume::scheduler {

const std::array<std::string_view, point::kCount> kPointNames = {"preEnqueue", "queueSort", "preFilter", "filter",
                                                                 "postFilter", "preScore",  "score",     "reserve",
                                                                 "permit",     "preBind",   "bind",      "postBind"};

Config default_config() {
  Config out;
  out.profiles.emplace_back();
  ProfileConfig packing;
  packing.scheduler_name = kBinPacking;
  packing.args["NodeResourcesFit"] = {{"scoringStrategy", {{"type", "MostAllocated"}}}};
  // What evens nodes out works against packing.
  packing.points[static_cast<std::size_t>(std::countr_zero(point::kScore))].disabled = {
      "NodeResourcesBalancedAllocation"};
  out.profiles.push_back(std::move(packing));
  return out;
}

namespace {

using Enabled = PluginSet::Enabled;

bool turned_off(const PluginSet& set, const std::string& name) {
  return std::any_of(set.disabled.begin(), set.disabled.end(),
                     [&](const std::string& off) { return off == "*" || off == name; });
}

const Enabled* find(const std::vector<Enabled>& list, std::string_view name) {
  const auto it = std::find_if(list.begin(), list.end(), [&](const Enabled& entry) { return entry.name == name; });
  return it == list.end() ? nullptr : &*it;
}

// The default plugins without those turned off, those named again in their old place, then the others.
std::vector<Enabled> merged_multi_point(const PluginSet& custom) {
  std::vector<Enabled> out;
  for (const auto& kind : plugin_kinds()) {
    const std::string name(kind.name);
    const auto* again = find(custom.enabled, name);
    if (turned_off(custom, name)) continue;
    out.push_back(again != nullptr ? *again : Enabled{.name = name, .weight = kind.weight});
  }
  for (const auto& entry : custom.enabled) {
    if (find(out, entry.name) == nullptr) out.push_back(entry);
  }
  return out;
}

// Those of `everywhere` that take part at the point. What the point itself names has its own weight there: first those
// that are in `everywhere` too, and last the others.
std::vector<Enabled> at_point(Points where, const PluginSet& set, const std::vector<Enabled>& everywhere,
                              const std::map<std::string, Plugin*>& made) {
  std::vector<Enabled> out;
  std::vector<Enabled> rest;
  for (const auto& entry : everywhere) {
    if ((made.at(entry.name)->points() & where) == 0 || turned_off(set, entry.name)) continue;
    const auto* own = find(set.enabled, entry.name);
    (own != nullptr ? out : rest).push_back(own != nullptr ? *own : entry);
  }
  out.insert(out.end(), rest.begin(), rest.end());
  for (const auto& entry : set.enabled) {
    if (find(out, entry.name) == nullptr) out.push_back(entry);
  }
  return out;
}

class Builder {
 public:
  Builder(const ProfileConfig& config, Handle handle)
      : config_(config), profile_(std::make_unique<Profile>(config.scheduler_name, std::move(handle))) {}

  Result<std::unique_ptr<Profile>> build() {
    const auto everywhere = merged_multi_point(config_.multi_point);
    for (const auto& entry : everywhere) BRUME_CHECK(make(entry.name));
    for (std::size_t i = 0; i < point::kCount; ++i) {
      for (const auto& entry : config_.points[i].enabled) BRUME_CHECK(make(entry.name));
    }
    for (const auto& [name, args] : config_.args) {
      // Arguments of a plugin that is off are checked all the same.
      if (!made_.contains(name)) BRUME_CHECK(make(name));
    }
    for (std::size_t i = 0; i < point::kCount; ++i) BRUME_CHECK(fill(i, everywhere));
    if (profile_->at(point::kQueueSort).size() != 1) return wrong("exactly one queueSort plugin is needed");
    if (profile_->at(point::kBind).empty()) return wrong("at least one bind plugin is needed");
    return std::move(profile_);
  }

 private:
  [[nodiscard]] std::unexpected<Error> wrong(const std::string& why) const {
    return fail(Code::kInvalid, "profile \"" + config_.scheduler_name + "\": " + why);
  }

  Status make(const std::string& name) {
    if (made_.contains(name)) return {};
    const auto* kind = find_plugin(name);
    if (kind == nullptr) return wrong("there is no plugin \"" + name + "\"");
    const auto args = config_.args.find(name);
    auto plugin = kind->make(args == config_.args.end() ? Json() : args->second, profile_->handle());
    if (!plugin) return wrong("pluginConfig of " + name + ": " + plugin.error().message);
    made_[name] = &profile_->add(std::move(*plugin));
    return {};
  }

  Status fill(std::size_t place, const std::vector<Enabled>& everywhere) {
    const Points where = Points{1} << place;
    for (const auto& entry : at_point(where, config_.points[place], everywhere, made_)) {
      auto& plugin = *made_.at(entry.name);
      if ((plugin.points() & where) == 0) {
        return wrong("plugin \"" + entry.name + "\" does not take part at " + std::string(kPointNames[place]));
      }
      profile_->enable(where, plugin, std::max<std::int64_t>(1, entry.weight));
    }
    return {};
  }

  const ProfileConfig& config_;
  std::unique_ptr<Profile> profile_;
  std::map<std::string, Plugin*> made_;
};

}  // namespace

Result<std::unique_ptr<Profile>> build_profile(const ProfileConfig& config, const Config& whole, Handle handle) {
  BRUME_TRY(auto profile, Builder(config, std::move(handle)).build());
  profile->percentage_of_nodes_to_score =
      static_cast<int>(config.percentage_of_nodes_to_score.value_or(whole.percentage_of_nodes_to_score));
  return profile;
}

}  // namespace brume::scheduler
