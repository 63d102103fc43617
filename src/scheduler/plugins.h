// The built-in plugins and the profile of them that the scheduler runs.
#pragma once

#include "brume/client/client.h"
#include "brume/scheduler/scheduler.h"
#include "framework.h"

namespace brume::scheduler {

std::unique_ptr<QueueSortPlugin> make_priority_sort();

std::unique_ptr<FilterPlugin> make_node_name_filter();
std::unique_ptr<FilterPlugin> make_unschedulable_filter();
std::unique_ptr<FilterPlugin> make_taint_filter();
std::unique_ptr<FilterPlugin> make_affinity_filter();
std::unique_ptr<FilterPlugin> make_ports_filter();
std::unique_ptr<FilterPlugin> make_fit_filter();

std::unique_ptr<ScorePlugin> make_taint_score();
std::unique_ptr<ScorePlugin> make_affinity_score();
std::unique_ptr<ScorePlugin> make_fit_score(Strategy strategy);
std::unique_ptr<ScorePlugin> make_balance_score();

std::unique_ptr<BindPlugin> make_binder(client::Client& client);

/// The default profile, with kube-scheduler's weights.
Profile default_profile(client::Client& client, Strategy strategy);

}  // namespace brume::scheduler
