// Files of volumes, sub-paths and payloads.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "brume/base/json.h"
#include "brume/base/random.h"
#include "brume/linux/fd.h"
#include "catch.h"
#include "volumes/atomic_writer.h"
#include "volumes/payload.h"
#include "volumes/volumes.h"

using namespace brume;
using namespace brume::node;
namespace fs = std::filesystem;

namespace {

struct TempDir {
  fs::path path = fs::temp_directory_path() / ("brume-vol-" + random_suffix(8));
  TempDir() { fs::create_directories(path); }
  ~TempDir() { (void)remove_with_mounts(path.string()); }
  [[nodiscard]] std::string operator/(const char* name) const { return (path / name).string(); }
};

std::string text_of(const std::string& path) { return linux_os::read_file(path).value_or("<none>"); }

}  // namespace

TEST_CASE("a payload is swapped as a whole") {
  TempDir dir;
  const std::string volume = dir / "v";
  auto changed = write_payload(volume, {{"a", {"1", 0644, {}}}, {"sub/b", {"2", 0400, {}}}}, std::nullopt);
  REQUIRE(changed.has_value());
  CHECK(*changed);
  CHECK(text_of(volume + "/a") == "1");
  CHECK(text_of(volume + "/sub/b") == "2");
  CHECK(fs::is_symlink(volume + "/a"));
  CHECK(fs::read_symlink(volume + "/sub") == "..data/sub");
  struct stat st = {};
  REQUIRE(::stat((volume + "/sub/b").c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0400);
  // A reader that has the old folder open keeps it.
  const int held = ::open((volume + "/..data/").c_str(), O_RDONLY | O_DIRECTORY);
  CHECK_FALSE(*write_payload(volume, {{"a", {"1", 0644, {}}}, {"sub/b", {"2", 0400, {}}}}, std::nullopt));
  CHECK(*write_payload(volume, {{"a", {"new", 0644, {}}}}, std::nullopt));
  CHECK(text_of(volume + "/a") == "new");
  CHECK_FALSE(fs::exists(volume + "/sub"));
  int folders = 0;
  for (const auto& entry : fs::directory_iterator(volume))
    folders += entry.is_directory() && !entry.is_symlink() ? 1 : 0;
  CHECK(folders == 1);
  ::close(held);
}

TEST_CASE("a payload cannot leave its folder") {
  TempDir dir;
  for (const char* bad : {"/etc/x", "../x", "a/../../x", "..data", "", "a//b"}) {
    CHECK_FALSE(write_payload(dir / "v", {{bad, {"1", 0644, {}}}}, std::nullopt).has_value());
  }
}

TEST_CASE("fsGroup gets files and folders") {
  if (::geteuid() != 0) return;
  TempDir dir;
  REQUIRE(write_payload(dir / "v", {{"a", {"1", 0600, {}}}}, 4242).has_value());
  struct stat st = {};
  REQUIRE(::stat((dir / "v/a").c_str(), &st) == 0);
  CHECK(st.st_gid == 4242);
  CHECK((st.st_mode & 0777) == 0640);
}

TEST_CASE("payloads of configMap, secret, downwardAPI and projected volumes") {
  const Json pod = {
      {"metadata", {{"name", "web"}, {"namespace", "shop"}, {"uid", "u"}, {"labels", {{"a", "1"}, {"b", "x\"y"}}}}},
      {"spec", {{"containers", Json::array({{{"name", "app"}, {"resources", {{"limits", {{"cpu", "2"}}}}}}})}}}};
  PodObjects objects;
  objects.config_maps["cm"] = {{"data", {{"k", "v"}}}, {"binaryData", {{"bin", "AAE="}}}};
  objects.secrets["s"] = {{"data", {{"pw", "c2VjcmV0"}}}};
  Tokens tokens;
  tokens["all/2"] = {"jwt", {}, {}};
  const PayloadInputs in{pod, objects, tokens, {}};
  auto files = make_payload({{"name", "v"}, {"configMap", {{"name", "cm"}, {"defaultMode", 0600}}}}, in);
  REQUIRE(files.has_value());
  CHECK((*files)["k"] == VolumeFile{"v", 0600, {}});
  CHECK((*files)["bin"].data == std::string("\0\1", 2));
  files = make_payload(
      {{"name", "v"},
       {"secret", {{"secretName", "s"}, {"items", Json::array({{{"key", "pw"}, {"path", "d/p"}, {"mode", 0400}}})}}}},
      in);
  REQUIRE(files.has_value());
  CHECK((*files)["d/p"] == VolumeFile{"secret", 0400, {}});
  const Json projected = {
      {"name", "all"},
      {"projected",
       {{"sources",
         Json::array({{{"configMap", {{"name", "cm"}, {"items", Json::array({{{"key", "k"}, {"path", "ca.crt"}}})}}}},
                      {{"downwardAPI",
                        {{"items", Json::array({{{"path", "labels"}, {"fieldRef", {{"fieldPath", "metadata.labels"}}}},
                                                {{"path", "cpu"},
                                                 {"resourceFieldRef",
                                                  {{"containerName", "app"}, {"resource", "limits.cpu"}}}}})}}}},
                      {{"serviceAccountToken", {{"path", "token"}}}}})}}}};
  files = make_payload(projected, in);
  REQUIRE(files.has_value());
  CHECK((*files)["ca.crt"].data == "v");
  CHECK((*files)["labels"].data == "a=\"1\"\nb=\"x\\\"y\"");
  CHECK((*files)["cpu"].data == "2");
  CHECK((*files)["token"].data == "jwt");
  const auto missing = make_payload({{"name", "v"}, {"configMap", {{"name", "none"}}}}, in);
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().message == "configmap \"none\" not found");
  CHECK(make_payload({{"name", "v"}, {"configMap", {{"name", "none"}, {"optional", true}}}}, in)->empty());
}

TEST_CASE("a token is renewed after 80 % of its life") {
  Token token{"t", WallTime(std::chrono::seconds(0)), WallTime(std::chrono::seconds(1000))};
  CHECK(token.refresh_at() == WallTime(std::chrono::seconds(800)));
  token.expires = WallTime(std::chrono::hours(24 * 365));
  CHECK(token.refresh_at() == WallTime(std::chrono::hours(24)));
}

TEST_CASE("hostPath types are checked") {
  TempDir dir;
  const auto check = [&](const char* path, const char* type) {
    VolumePlan plan;
    plan.kind = VolumePlan::Kind::kHostPath;
    plan.path = dir / path;
    plan.host_type = type;
    return set_up_volume(plan);
  };
  CHECK_FALSE(check("d", "Directory").has_value());
  CHECK(check("d", "DirectoryOrCreate").has_value());
  CHECK(check("d", "Directory").has_value());
  CHECK_FALSE(check("d", "File").has_value());
  CHECK(check("f", "FileOrCreate").has_value());
  CHECK_FALSE(check("f", "Socket").has_value());
  CHECK(check("nothing", "").has_value());
  CHECK(fs::is_directory(dir / "nothing"));
}

TEST_CASE("a sub-path stays in its volume") {
  if (::geteuid() != 0) return;
  TempDir dir;
  const std::string volume = dir / "vol";
  fs::create_directories(volume + "/in");
  std::ofstream(volume + "/in/file") << "inside";
  fs::create_symlink("/etc", volume + "/out");
  fs::create_symlink("../../../../../../../etc", volume + "/climb");
  fs::create_symlink("in", volume + "/alias");
  CHECK(bind_sub_path(volume, "in", dir / "t1").has_value());
  CHECK(text_of(dir / "t1/file") == "inside");
  CHECK(bind_sub_path(volume, "in/file", dir / "t2").has_value());
  CHECK(text_of(dir / "t2") == "inside");
  CHECK(bind_sub_path(volume, "alias", dir / "t3").has_value());
  CHECK(bind_sub_path(volume, "made/deep", dir / "t4").has_value());
  CHECK(fs::is_directory(volume + "/made/deep"));
  CHECK_FALSE(bind_sub_path(volume, "out", dir / "t5").has_value());
  CHECK_FALSE(bind_sub_path(volume, "climb/passwd", dir / "t6").has_value());
  CHECK_FALSE(bind_sub_path(volume, "../x", dir / "t7").has_value());
  // Again, as a restarted container does.
  CHECK(bind_sub_path(volume, "in", dir / "t1").has_value());
  REQUIRE(remove_with_mounts(dir.path.string()).has_value());
  CHECK_FALSE(fs::exists(dir.path));
}

TEST_CASE("an emptyDir in memory is a tmpfs of its size, mounted once") {
  if (::geteuid() != 0) return;
  TempDir dir;
  CHECK(mount_tmpfs(dir / "m", 1 << 20, 0777).has_value());
  std::ofstream(dir / "m/x") << "kept";
  CHECK(mount_tmpfs(dir / "m", 1 << 20, 0777).has_value());
  CHECK(text_of(dir / "m/x") == "kept");
  std::ofstream big(dir / "m/big");
  big << std::string(2 << 20, 'x');
  big.flush();
  CHECK_FALSE(big.good());
}

TEST_CASE("an emptyDir in memory is sticky like any tmpfs, and so is a sub-path made in it") {
  if (::geteuid() != 0) return;
  TempDir dir;
  VolumePlan plan;
  plan.kind = VolumePlan::Kind::kMemory;
  plan.path = dir / "m";
  plan.group = 123;
  REQUIRE(set_up_volume(plan).has_value());
  REQUIRE(bind_sub_path(plan.path, "made", dir / "t").has_value());
  for (const char* name : {"m", "m/made", "t"}) {
    struct stat st = {};
    REQUIRE(::stat((dir / name).c_str(), &st) == 0);
    CHECK((st.st_mode & 07777) == 03777);
    CHECK(st.st_gid == 123);
  }
}
