#include "brume/runtime/images.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "brume/base/crypto.h"
#include "brume/base/random.h"
#include "catch.h"
#include "runtime/images/decompress.h"
#include "runtime/images/image_store.h"
#include "runtime/images/unpack.h"
#include "support/run.h"

using namespace brume;
using namespace brume::runtime;
namespace fs = std::filesystem;

namespace {

struct Directory {
  std::string path = fs::temp_directory_path() / ("brume-images-" + random_suffix(8));
  Directory() { fs::create_directory(path); }
  ~Directory() { fs::remove_all(path); }
};

void shell(const std::string& command) {
  INFO(command);
  REQUIRE(std::system(command.c_str()) == 0);
}

std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Result<std::uint64_t> unpack(const std::string& tar, const std::string& into) {
  auto source = Decompressor::open(tar);
  if (!source) return fail(source.error());
  return unpack_layer(**source, into);
}

/// A one-layer docker archive of a file /hello, compressed as `compressor` says.
void make_docker_archive(const std::string& dir, const std::string& compressor, const std::string& tag) {
  shell("mkdir -p " + dir + "/root " + dir + "/out && echo " + tag + " > " + dir + "/root/hello && tar -C " + dir +
        "/root -cf " + dir + "/layer.tar .");
  const std::string diff_id = "sha256:" + sha256_hex(slurp(dir + "/layer.tar"));
  shell("cp " + dir + "/layer.tar " + dir + "/out/layer.tar");
  if (!compressor.empty()) shell(compressor + " < " + dir + "/layer.tar > " + dir + "/out/layer.tar");
  const Json config{{"architecture", "amd64"},
                    {"os", "linux"},
                    {"config", {{"Cmd", {"/hello"}}}},
                    {"rootfs", {{"type", "layers"}, {"diff_ids", {diff_id}}}}};
  std::ofstream(dir + "/out/config.json") << config.dump();
  std::ofstream(dir + "/out/manifest.json")
      << Json::array({{{"Config", "config.json"}, {"RepoTags", {tag}}, {"Layers", {"layer.tar"}}}}).dump();
  shell("tar -C " + dir + "/out -cf " + dir + "/image.tar .");
}

}  // namespace

TEST_CASE("image references are filled in as docker does") {
  const auto name = [](std::string_view text) {
    const auto parsed = ImageReference::parse(text);
    return parsed ? parsed->name() : "invalid: " + parsed.error().message;
  };
  CHECK(name("busybox") == "docker.io/library/busybox:latest");
  CHECK(name("a/b:1") == "docker.io/a/b:1");
  CHECK(name("localhost/x") == "localhost/x:latest");
  CHECK(name("h:5000/a/b/c") == "h:5000/a/b/c:latest");
  const std::string digest = "sha256:" + std::string(64, 'a');
  CHECK(name("x.io/a@" + digest) == "x.io/a@" + digest);
  CHECK(name("x.io/a:1@" + digest) == "x.io/a:1@" + digest);
  for (const auto* bad :
       {"", "a/B", "a//b", "a:", "a@sha256:12", "-a", "a/b:t!g", "h:99999/a", "a..b", "x.io/", "a___b"}) {
    CHECK_FALSE(ImageReference::parse(bad));
  }
}

TEST_CASE("a layer's names cannot lead out of its directory") {
  Directory work;
  const std::string layer = work.path + "/layer";
  const std::string outside = work.path + "/outside";
  fs::create_directory(layer);
  fs::create_directory(outside);
  std::ofstream(outside + "/secret") << "untouched";
  // A symlink to the outside, and then an entry that would go through it; a hard link to the outside; a "..".
  shell("mkdir " + work.path + "/a && ln -s ../outside " + work.path + "/a/link && tar -C " + work.path + "/a -cf " +
        work.path + "/evil.tar link && mkdir -p " + work.path + "/b/link && echo owned > " + work.path +
        "/b/link/secret && tar -C " + work.path + "/b -rf " + work.path + "/evil.tar link/secret");
  const auto done = unpack(work.path + "/evil.tar", layer);
  CHECK(slurp(outside + "/secret") == "untouched");
  CHECK_FALSE(fs::exists(outside + "/owned"));
  shell("cd " + outside + " && tar -cPf " + work.path + "/dots.tar ../outside/secret");
  const auto dots = unpack(work.path + "/dots.tar", layer);
  REQUIRE_FALSE(dots);
  CHECK(dots.error().code == Code::kCorrupt);
}

TEST_CASE("whiteouts become overlayfs', attributes stay") {
  Directory work;
  const std::string layer = work.path + "/layer";
  fs::create_directory(layer);
  shell("cd " + work.path +
        " && mkdir -p src/d src/o && touch src/d/.wh.gone src/o/.wh..wh..opq && echo x > src/f && chown 7:8 src/f && "
        "chmod 4711 src/f && ln src/f src/hard && touch -d 2001-02-03T04:05:06Z src/d && tar -C src -cf l.tar .");
  REQUIRE(unpack(work.path + "/l.tar", layer));
  struct stat found{};
  REQUIRE(::lstat((layer + "/d/gone").c_str(), &found) == 0);
  CHECK(S_ISCHR(found.st_mode));
  CHECK(found.st_rdev == makedev(0, 0));
  char value = 0;
  CHECK(::getxattr((layer + "/o").c_str(), "trusted.overlay.opaque", &value, 1) == 1);
  CHECK(value == 'y');
  CHECK_FALSE(fs::exists(layer + "/o/.wh..wh..opq"));
  REQUIRE(::stat((layer + "/f").c_str(), &found) == 0);
  CHECK((found.st_mode & 07777) == 04711);
  CHECK(found.st_uid == 7);
  CHECK(found.st_gid == 8);
  CHECK(found.st_nlink == 2);
  REQUIRE(::stat((layer + "/d").c_str(), &found) == 0);
  CHECK(found.st_mtim.tv_sec == 981173106);
}

TEST_CASE("a damaged or cut compressed layer is refused") {
  Directory work;
  shell("cd " + work.path +
        " && head -c 300000 /dev/urandom > f && tar -cf l.tar f && gzip -k l.tar && zstd -q l.tar && "
        "mkdir out1 out2 out3 && truncate -s 200000 l.tar.gz && truncate -s 200000 l.tar.zst");
  CHECK(unpack(work.path + "/l.tar", work.path + "/out1"));
  for (const auto* name : {"/l.tar.gz", "/l.tar.zst"}) {
    const auto cut = unpack(work.path + name, work.path + "/out2");
    REQUIRE_FALSE(cut);
    CHECK(cut.error().code == Code::kCorrupt);
  }
}

TEST_CASE("archives of every compression are imported, found by name and id, and removed with their layers") {
  const std::string compressor = GENERATE("", "gzip -c", "zstd -q -c");
  Directory work;
  make_docker_archive(work.path, compressor, "example.com/team/app:1");
  test::run([&]() -> Task<void> {
    auto opened = Images::open({.dir = work.path + "/images"}, co_await boost::asio::this_coro::executor);
    if (!opened) std::abort();
    auto& images = **opened;
    auto imported = co_await images.import_archive(work.path + "/image.tar");
    if (!imported) FAIL(imported.error().message);
    CHECK(imported->size() == 1);
    const auto found = images.find("example.com/team/app:1");
    if (!found) FAIL("not found by name");
    CHECK(found->pinned);
    CHECK(images.find(found->id) == found);
    CHECK(images.find(found->id.substr(7, 12)) == found);
    CHECK(found->layers.size() == 1);
    CHECK(slurp(found->layers[0] + "/hello") == "example.com/team/app:1\n");
    images.set_in_use([](std::string_view) { return true; });
    const auto busy = co_await images.remove("example.com/team/app:1");
    CHECK_FALSE(busy);
    images.set_in_use([](std::string_view) { return false; });
    const auto removed = co_await images.remove("example.com/team/app:1");
    CHECK(removed);
    CHECK_FALSE(images.find("example.com/team/app:1"));
    CHECK_FALSE(fs::exists(found->layers[0]));
    co_await images.stop();
  });
}

TEST_CASE("an image survives a reopen, and a record without its layers does not") {
  Directory work;
  make_docker_archive(work.path, "gzip -c", "app:1");
  test::run([&]() -> Task<void> {
    const auto executor = co_await boost::asio::this_coro::executor;
    const ImageOptions options{.dir = work.path + "/images"};
    std::string layer;
    {
      auto images = std::move(*Images::open(options, executor));
      auto imported = co_await images->import_archive(work.path + "/image.tar");
      layer = imported->at(0).layers.at(0);
      co_await images->stop();
    }
    {
      auto images = std::move(*Images::open(options, executor));
      CHECK(images->find("app:1"));
      co_await images->stop();
    }
    fs::remove_all(layer);
    auto images = std::move(*Images::open(options, executor));
    CHECK_FALSE(images->find("app:1"));
    co_await images->stop();
  });
}

TEST_CASE("an archive that is none says so") {
  Directory work;
  std::ofstream(work.path + "/x.tar") << "this is not a tar archive at all";
  shell("cd " + work.path + " && mkdir e && echo 1 > e/f && tar -cf empty.tar -C e f");
  test::run([&]() -> Task<void> {
    auto images = std::move(*Images::open({.dir = work.path + "/images"}, co_await boost::asio::this_coro::executor));
    for (const auto* name : {"/x.tar", "/empty.tar", "/absent.tar"}) {
      const auto imported = co_await images->import_archive(work.path + name);
      CHECK_FALSE(imported);
      CHECK(imported.error().message.find(name) != std::string::npos);
    }
    co_await images->stop();
  });
}

TEST_CASE("an image of local files links an executable of root's and copies what has another mode") {
  Directory work;
  std::ofstream(work.path + "/program") << "a program";
  ::chmod((work.path + "/program").c_str(), 0755);
  std::ofstream(work.path + "/private") << "a private one";
  ::chmod((work.path + "/private").c_str(), 0700);
  test::run([&]() -> Task<void> {
    auto images = std::move(*Images::open({.dir = work.path + "/images"}, co_await boost::asio::this_coro::executor));
    std::vector<std::pair<std::string, std::string>> files{{"bin/program", work.path + "/program"},
                                                           {"private", work.path + "/private"}};
    const auto image = co_await images->import_files("example.com/own:1", files, {{"os", "linux"}});
    if (!image) FAIL(image.error().message);
    const std::string layer = image->layers.at(0);
    CHECK(slurp(layer + "/bin/program") == "a program");
    CHECK(slurp(layer + "/private") == "a private one");
    struct stat there{};
    REQUIRE(::lstat((layer + "/private").c_str(), &there) == 0);
    CHECK((there.st_mode & 07777) == 0755);  // and the file it came from keeps its own:
    CHECK(::access((work.path + "/program").c_str(), X_OK) == 0);
    CHECK(fs::hard_link_count(work.path + "/private") == 1);
    if (::geteuid() == 0) CHECK(fs::equivalent(layer + "/bin/program", work.path + "/program"));
    co_await images->stop();
  });
}
