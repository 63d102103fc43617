// In which order a StatefulSet's pods come and go.
#include <algorithm>

#include "statefulset.h"

namespace brume::controller {

namespace {

// So many pods that lack are looked at in one round; the next come when these are there. A set may ask for billions.
constexpr std::int64_t kMostMissing = 500;

}  // namespace

// The first of the pods that are wanted, then of those that are not, that is not available.
const Member* StatefulSetController::World::first_unavailable() const {
  const auto lacks = [](const Member& member) { return member.unavailable(); };
  if (const auto found = std::find_if(replicas.begin(), replicas.end(), lacks); found != replicas.end()) return &*found;
  const auto last = std::find_if(condemned.rbegin(), condemned.rend(), lacks);
  return last != condemned.rend() ? &*last : nullptr;
}

// Takes the newest version of each pod that the copy has, and leaves out what is gone.
void StatefulSetController::refresh(World& world) {
  std::vector<ObjectPtr> pods;
  for (const auto& pod : world.pods) {
    auto now = pods_.get(pod->key());
    if (now && now->uid() == pod->uid()) pods.push_back(std::move(now));
  }
  world.pods = std::move(pods);
}

void StatefulSetController::sort_members(World& world) {
  const auto& set = world.set;
  const auto size = std::min(set.replicas(), static_cast<std::int64_t>(world.pods.size()) + kMostMissing);
  world.replicas.resize(static_cast<std::size_t>(size));
  for (const auto& pod : world.pods) {
    auto member = member_of(set, pod, context_.pods.of(pod), pod_claims_.of(pod), world.now);
    const auto index = static_cast<std::size_t>(member.ordinal - set.start());
    if (!set.in_range(member.ordinal)) {
      world.condemned.push_back(std::move(member));
    } else if (index < world.replicas.size()) {
      world.replicas[index] = std::move(member);
    } else {
      world.beyond.push_back(std::move(member));
    }
  }
  std::sort(world.condemned.begin(), world.condemned.end(),
            [](const Member& a, const Member& b) { return a.ordinal > b.ordinal; });
  for (std::size_t i = 0; i < world.replicas.size(); ++i) {
    auto& member = world.replicas[i];
    if (member.there()) continue;
    member.ordinal = set.start() + static_cast<std::int64_t>(i);
    member.revision = made_from_current(set, member.ordinal) ? world.current.name() : world.update.name();
  }
}

Task<Status> StatefulSetController::sync(World& world) {
  refresh(world);
  sort_members(world);
  Status moved;
  if (!world.set.object->deleting()) moved = co_await move(world);
  const auto reported = co_await report(world);
  look_again(world);
  co_return moved ? reported : moved;
}

// Steps 0 ... count - 1: one after the other until one ends the round, or with Parallel many at a time, which wait for
// nothing.
Task<Result<bool>> StatefulSetController::run(const World& world, std::size_t count, Step step) {
  if (!world.set.parallel()) {
    for (std::size_t i = 0; i < count; ++i) {
      BRUME_CO_TRY(const bool ends, co_await step(i));
      if (ends) co_return true;
    }
    co_return false;
  }
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): slow_start keeps it
  const auto one = [&](std::size_t i) -> Task<Status> {
    BRUME_CO_CHECK(co_await step(i));
    co_return Status{};
  };
  BRUME_CO_CHECK(co_await slow_start(count, one));
  co_return false;
}

// Pods that are wanted first, then those that are not, then updates.
Task<Status> StatefulSetController::move(World& world) {
  const auto keep = [&](std::size_t i) { return keep_replica(world, i); };
  BRUME_CO_TRY(const bool waits, co_await run(world, world.replicas.size(), keep));
  if (waits) co_return Status{};
  // NOLINTNEXTLINE(cppcoreguidelines-avoid-capturing-lambda-coroutines): run() keeps it
  const auto own = [&](std::size_t i) -> Task<Result<bool>> {
    BRUME_CO_CHECK(co_await own_claims(world.set, world.condemned[i]));
    co_return false;
  };
  BRUME_CO_CHECK(co_await run(world, world.condemned.size(), own));
  const auto drop = [&](std::size_t i) { return drop_condemned(world, i); };
  BRUME_CO_TRY(const bool scales, co_await run(world, world.condemned.size(), drop));
  if (scales || str(at(world.set.spec(), "updateStrategy"), "type") == "OnDelete") co_return Status{};
  for (const auto i : pods_to_update(world.set, world.replicas, world.update.name())) {
    BRUME_CO_CHECK(co_await delete_pod(world.set, world.replicas[i]));
    world.deleted_for_update += world.replicas[i].revision == world.current.name() ? 1 : 0;
  }
  co_return Status{};
}

Task<Result<bool>> StatefulSetController::keep_replica(World& world, std::size_t i) {
  const auto& set = world.set;
  const auto& member = world.replicas[i];
  const bool ordered = !set.parallel();
  // However a pod ended (an evicted one may have succeeded), it is made anew once it is gone.
  if (member.finished()) {
    if (!member.deleting()) BRUME_CO_CHECK(co_await delete_pod(set, member));
    co_return true;
  }
  if (!member.there()) {
    if (claims_stale(set, member)) co_return true;
    BRUME_CO_CHECK(co_await create_pod(world, member));
    co_return ordered;
  }
  if (member.phase == PodPhase::kPending) {
    BRUME_CO_CHECK(co_await create_claims(set, member));
    BRUME_CO_CHECK(co_await own_claims(set, member));
  }
  if (ordered && (member.deleting() || !member.ready || !member.available)) co_return true;
  if (!member.in_order || !claims_owned(set, member)) BRUME_CO_CHECK(co_await repair_pod(set, member));
  co_return false;
}

Task<Result<bool>> StatefulSetController::drop_condemned(World& world, std::size_t i) {
  const auto& member = world.condemned[i];
  const bool ordered = !world.set.parallel();
  if (member.deleting()) co_return ordered;
  if (ordered && (!member.ready || !member.available) && &member != world.first_unavailable()) co_return true;
  BRUME_CO_CHECK(co_await delete_pod(world.set, member));
  co_return true;
}

// Status
// ---------------------------------------------------------------------------------------------------------------

Task<Status> StatefulSetController::report(const World& world) {
  const auto& set = world.set;
  MemberCounts counts;
  count_members(world.replicas, world.current.name(), world.update.name(), counts);
  count_members(world.condemned, world.current.name(), world.update.name(), counts);
  count_members(world.beyond, world.current.name(), world.update.name(), counts);
  counts.current -= world.deleted_for_update;
  std::string current = world.current.name();
  // The update is complete: what was the update is the current revision now.
  if (set.rolling() && counts.updated == set.replicas() && counts.ready == set.replicas() &&
      counts.replicas == set.replicas()) {
    counts.current = counts.updated;
    current = world.update.name();
  }
  const auto& before = at(set.value, "status");
  Json after = before.is_object() ? before : Json::object();
  after["replicas"] = counts.replicas;
  after["availableReplicas"] = counts.available;
  set_count(after, "readyReplicas", counts.ready);
  set_count(after, "currentReplicas", counts.current);
  set_count(after, "updatedReplicas", counts.updated);
  after["currentRevision"] = current;
  after["updateRevision"] = world.update.name();
  after["collisionCount"] = world.collisions;
  after["observedGeneration"] = set.object->generation();
  BRUME_CO_TRY(const auto revision,
               co_await controller::write_status(client(), sets_.resource(), set.object, before, std::move(after)));
  if (revision != 0) own_writes_.created(set.object->key(), revision);
  co_return Status{};
}

// No event will tell that a ready pod has become available.
void StatefulSetController::look_again(World& world) {
  refresh(world);
  const auto wait = std::chrono::seconds(world.set.min_ready_seconds());
  std::optional<WallTime> next;
  for (const auto& pod : world.pods) {
    const auto& view = context_.pods.of(pod);
    if (!view.ready || view.available(wait.count(), clock().now())) continue;
    next = next ? std::min(*next, view.ready_since + wait) : view.ready_since + wait;
  }
  if (!next) return;
  queue_.add_after(world.set.object->key(),
                   std::max<WallTime::duration>(*next - clock().now(), std::chrono::seconds(1)));
}

}  // namespace brume::controller
