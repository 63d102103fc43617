// Runtime, images, network and handlers in memory, for tests of the node agent.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "brume/base/json.h"
#include "brume/base/task.h"
#include "brume/node/pod_network.h"
#include "brume/runtime/images.h"
#include "brume/runtime/runtime.h"
#include "worker/handlers.h"

namespace brume::test {

/// A session whose output the test scripts.
class FakeSession : public runtime::Session {
 public:
  struct Shared {
    explicit Shared(const Executor& executor) : changed(executor) {}
    Event changed;
    std::vector<Chunk> chunks;
    int opened = 0;
    std::string stdin_bytes;
    bool stdin_closed = false;
    bool closed = false;
    std::pair<int, int> size{0, 0};
  };
  explicit FakeSession(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  ~FakeSession() override { shared_->closed = true; }

  Task<Result<Chunk>> read() override {
    auto shared = shared_;
    while (shared->chunks.empty()) {
      if (shared->closed) co_return fail(Code::kCancelled, "session closed");
      co_await shared->changed.wait();
    }
    Chunk chunk = shared->chunks.front();
    if (!chunk.ended) shared->chunks.erase(shared->chunks.begin());
    co_return chunk;
  }
  Task<Status> write_stdin(std::string_view bytes) override {
    shared_->stdin_bytes += bytes;
    co_return Status();
  }
  Task<Status> close_stdin() override {
    shared_->stdin_closed = true;
    co_return Status();
  }
  Task<Status> resize(std::uint16_t columns, std::uint16_t rows) override {
    shared_->size = {columns, rows};
    co_return Status();
  }
  void close() override {
    shared_->closed = true;
    shared_->changed.notify();
  }

 private:
  std::shared_ptr<Shared> shared_;
};

class FakeRuntime : public runtime::Runtime {
 public:
  using Status_ = runtime::ContainerStatus;
  explicit FakeRuntime(const Executor& executor, Clock& clock) : executor_(executor), clock_(clock) {}

  void on_exit(std::function<void(const Status_&)> callback) override { exited_ = std::move(callback); }
  void on_sandbox_end(std::function<void(const std::string&)> callback) override { ended_ = std::move(callback); }
  Task<Result<std::vector<runtime::SandboxInfo>>> adopt() override {
    std::vector<runtime::SandboxInfo> out;
    for (auto& [id, info] : sandboxes) out.push_back(info);
    if (on_adopted) on_adopted();
    co_return out;
  }
  Task<Result<runtime::SandboxInfo>> create_sandbox(runtime::SandboxSpec spec) override {
    co_await yield_now();
    if (sandboxes.contains(spec.id)) co_return fail(Code::kAlreadyExists, "sandbox " + spec.id + " exists");
    if (sandbox_error) {  // and what was made of it cannot be removed at once
      sandboxes[spec.id] = {};
      co_return fail(*sandbox_error);
    }
    runtime::SandboxInfo info{spec.id, 1, "/fake/netns/" + spec.id, spec.labels};
    sandboxes[spec.id] = info;
    sandbox_specs[spec.id] = std::move(spec);
    co_return info;
  }
  Task<Result<Status_>> start_container(runtime::ContainerSpec spec) override {
    co_await yield_now();
    if (const auto it = start_errors.find(spec.name); it != start_errors.end()) co_return fail(it->second);
    if (dead.contains(spec.sandbox_id)) co_return fail(Code::kIo, "the shim is gone");
    started.push_back(spec.name);
    Status_ status;
    status.sandbox_id = spec.sandbox_id;
    status.id = spec.id;
    status.name = spec.name;
    status.pid = 100 + static_cast<int>(started.size());
    status.started_at = clock_.now();
    status.labels = spec.labels;
    containers_[spec.sandbox_id].push_back(status);
    specs[spec.name] = std::move(spec);
    co_return status;
  }
  Task<Status> signal_container(std::string sandbox_id, std::string container_id, int signal) override {
    co_await yield_now();
    for (auto& status : containers_[sandbox_id]) {
      if (status.id != container_id || status.state == Status_::State::kExited) continue;
      signals.emplace_back(status.name, signal);
      if (signal == 9 || obeys_signals.contains(status.name) || obey_all) {
        post(sandbox_id, status.name, signal == 9 ? 137 : 0);
      }
      co_return Status();
    }
    co_return fail(Code::kNotFound, "no such container");
  }
  Task<Status> remove_container(std::string sandbox_id, std::string container_id) override {
    std::erase_if(containers_[sandbox_id], [&](const Status_& s) { return s.id == container_id; });
    co_return Status();
  }
  Task<Status> remove_sandbox(std::string sandbox_id) override {
    co_await yield_now();
    if (remove_error) co_return fail(*remove_error);
    containers_.erase(sandbox_id);
    sandboxes.erase(sandbox_id);
    dead.erase(sandbox_id);
    removed.push_back(sandbox_id);
    co_return Status();
  }
  std::vector<Status_> containers(std::string_view sandbox_id) const override {
    const auto it = containers_.find(std::string(sandbox_id));
    return it == containers_.end() ? std::vector<Status_>() : it->second;
  }
  Task<Result<std::unique_ptr<runtime::Session>>> exec(runtime::ExecSpec spec) override {
    execs.push_back(spec);
    if (!session) co_return fail(Code::kNotFound, "no session scripted");
    co_return std::make_unique<FakeSession>(session);
  }
  Task<Result<std::unique_ptr<runtime::Session>>> attach(std::string, std::string) override {
    if (!session) co_return fail(Code::kNotFound, "no session scripted");
    co_return std::make_unique<FakeSession>(session);
  }
  Task<Status> reopen_log(std::string, std::string container_id) override {
    reopened.push_back(container_id);
    co_return Status();
  }
  Task<Status> update_resources(std::string, std::string container_id, Json resources) override {
    co_await yield_now();
    updates.emplace_back(name_of(container_id), std::move(resources));
    co_return update_error ? Status(fail(*update_error)) : Status();
  }
  Task<Result<std::optional<runtime::MemoryUse>>> memory_use(std::string, std::string container_id) override {
    const auto it = memory.find(name_of(container_id));
    co_return it == memory.end() ? std::nullopt : std::optional(runtime::MemoryUse{it->second, it->second / 2});
  }
  Task<Result<runtime::PodUse>> use(std::string sandbox_id) override {
    co_await yield_now();
    const auto it = uses.find(sandbox_id);
    if (it == uses.end()) co_return fail(Code::kNotFound, "no sandbox " + sandbox_id);
    co_return it->second;
  }
  const std::vector<runtime::Limitation>& limitations() const override { return limits; }
  Task<void> stop() override { co_return; }

  /// The newest running container of that name ends.
  bool finish(const std::string& name, int exit_code, int signal = 0, bool oom = false) {
    for (auto& [sandbox, list] : containers_) {
      for (auto it = list.rbegin(); it != list.rend(); ++it) {
        if (it->name != name || it->state == Status_::State::kExited) continue;
        it->state = Status_::State::kExited;
        it->exit_code = exit_code;
        it->signal = signal;
        it->oom_killed = oom;
        it->finished_at = clock_.now();
        const Status_ copy = *it;
        if (exited_) exited_(copy);
        return true;
      }
    }
    return false;
  }
  /// The sandbox's shim ends, and its containers with it.
  void end_sandbox(const std::string& id) {
    dead.insert(id);
    std::vector<std::string> names;
    for (const auto& status : containers_[id]) names.push_back(status.name);
    for (const auto& name : names) finish(name, 137, 9);
    if (ended_) ended_(id);
  }
  [[nodiscard]] int starts(const std::string& name) const {
    return static_cast<int>(std::count(started.begin(), started.end(), name));
  }
  /// As if this process had not been the one that started them.
  void forget_callback() { exited_ = nullptr; }

  std::map<std::string, runtime::PodUse> uses;  ///< by sandbox
  std::map<std::string, runtime::SandboxInfo> sandboxes;
  std::map<std::string, runtime::SandboxSpec> sandbox_specs;
  std::map<std::string, runtime::ContainerSpec> specs;  ///< last by container name
  std::map<std::string, Error> start_errors;
  std::optional<Error> sandbox_error, remove_error;
  std::function<void()> on_adopted;                   ///< what happens right after
  std::set<std::string> dead;                         ///< sandboxes without a shim
  std::vector<std::pair<std::string, Json>> updates;  ///< of resources; "" is the pod's cgroup
  std::optional<Error> update_error;
  std::map<std::string, std::uint64_t> memory;  ///< what containers use, by name; half of it is their working set
  std::vector<std::string> started, removed, reopened;
  std::vector<std::pair<std::string, int>> signals;
  std::set<std::string> obeys_signals;
  bool obey_all = true;
  std::vector<runtime::ExecSpec> execs;
  std::shared_ptr<FakeSession::Shared> session;
  std::vector<runtime::Limitation> limits;
  std::map<std::string, std::vector<Status_>> containers_;

 private:
  std::string name_of(const std::string& id) const {
    for (const auto& [sandbox, list] : containers_) {
      for (const auto& status : list) {
        if (status.id == id) return status.name;
      }
    }
    return {};
  }
  void post(std::string, std::string name, int code) {
    boost::asio::post(executor_, [this, name, code] { finish(name, code, code > 128 ? code - 128 : 0); });
  }
  Executor executor_;
  Clock& clock_;
  std::function<void(const Status_&)> exited_;
  std::function<void(const std::string&)> ended_;
};

class FakeImages : public runtime::Images {
 public:
  Task<Result<runtime::Image>> pull(runtime::ImageReference reference,
                                    std::optional<runtime::RegistryAuth> auth) override {
    co_await yield_now();
    pulls.push_back(reference.name());
    auths.push_back(std::move(auth));
    if (pull_error) co_return fail(*pull_error);
    co_return add(reference.name());
  }
  Task<Result<std::vector<runtime::Image>>> import_archive(std::string) override {
    co_return fail(Code::kInvalid, "no");
  }
  Task<Result<runtime::Image>> import_files(std::string, std::vector<std::pair<std::string, std::string>>,
                                            Json) override {
    co_return fail(Code::kInvalid, "no");
  }
  std::shared_ptr<const runtime::Image> find(std::string_view reference) const override {
    for (const auto& image : images) {
      if (image->id == reference) return image;
      if (std::find(image->repo_tags.begin(), image->repo_tags.end(), reference) != image->repo_tags.end())
        return image;
    }
    return nullptr;
  }
  std::vector<std::shared_ptr<const runtime::Image>> list() const override { return images; }
  Task<Status> remove(std::string reference) override {
    removed.push_back(reference);
    std::erase_if(images, [&](const auto& image) { return image->id == reference; });
    co_return Status();
  }
  void set_in_use(std::function<bool(std::string_view)> in_use) override { in_use_ = std::move(in_use); }
  Task<void> stop() override { co_return; }

  runtime::Image add(const std::string& name, Json config = {{"config", {{"Cmd", {"/bin/app"}}}}}) {
    runtime::Image image;
    image.id = "sha256:" + std::to_string(std::hash<std::string>()(name));
    image.repo_tags = {name};
    image.size = 1234;
    image.config = std::move(config);
    images.push_back(std::make_shared<const runtime::Image>(image));
    return image;
  }

  std::vector<std::shared_ptr<const runtime::Image>> images;
  std::vector<std::string> pulls, removed;
  std::vector<std::optional<runtime::RegistryAuth>> auths;
  std::optional<Error> pull_error;
  std::function<bool(std::string_view)> in_use_;
};

class FakeNetwork : public node::PodNetwork {
 public:
  Task<Result<std::vector<std::string>>> attach(node::PodAttachment attachment) override {
    co_await yield_now();
    attached.push_back(attachment);
    if (attaching) attaching();
    if (error) co_return fail(*error);
    co_return std::vector<std::string>{"10.42.0.7"};
  }
  Task<Status> detach(std::string uid) override {
    detached.push_back(uid);
    co_return Status();
  }
  Task<std::set<std::string>> attached_pods() override { co_return left_over; }
  std::function<void()> attaching;  ///< what happens meanwhile
  std::set<std::string> left_over;  ///< pods of an earlier process that hold an address
  std::vector<node::PodAttachment> attached;
  std::vector<std::string> detached;
  std::optional<Error> error;
};

/// Answers by kind of handler: "exec", "httpGet", "tcpSocket".
class FakeHandlers : public node::HandlerRunner {
 public:
  Task<node::HandlerResult> run(node::HandlerRequest request) override {
    co_await yield_now();
    requests.push_back(request);
    while (hold) co_await yield_now();
    if (answer) co_return answer(request);
    co_return node::HandlerResult{true, ""};
  }
  Task<void> stop() override { co_return; }
  bool hold = false;  ///< no handler ends
  std::vector<node::HandlerRequest> requests;
  std::function<node::HandlerResult(const node::HandlerRequest&)> answer;
};

}  // namespace brume::test
