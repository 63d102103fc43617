#include "runtime/images/decompress.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cerrno>
#include <vector>

namespace brume::runtime {

namespace {

constexpr std::size_t kChunk = 128 * 1024;
/// zstd windows above 128 MiB are refused: they are no layer's but an attack on memory (zstd's own default limit).
constexpr int kZstdMaxWindowLog = 27;

/// The file's bytes, a chunk at a time.
class Input {
 public:
  explicit Input(linux_os::Fd fd) : fd_(std::move(fd)), buffer_(kChunk) {}
  Result<std::string_view> read() {
    while (true) {
      const ssize_t got = ::read(fd_.get(), buffer_.data(), buffer_.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_errno(errno, "reading a layer");
      return std::string_view(buffer_.data(), static_cast<std::size_t>(got));
    }
  }

 private:
  linux_os::Fd fd_;
  std::vector<char> buffer_;
};

class Plain final : public Decompressor {
 public:
  explicit Plain(Input input) : input_(std::move(input)) {}
  Result<std::string_view> read() override {
    auto bytes = input_.read();
    if (bytes) hash_.update(*bytes);
    return bytes;
  }

 private:
  Input input_;
};

class Gzip final : public Decompressor {
 public:
  explicit Gzip(Input input) : input_(std::move(input)), out_(kChunk) {}
  ~Gzip() override { inflateEnd(&stream_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;
  bool init() { return inflateInit2(&stream_, 15 + 16) == Z_OK; }  // 15: largest window; 16: gzip framing

  Result<std::string_view> read() override {
    stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
    stream_.avail_out = static_cast<uInt>(out_.size());
    while (stream_.avail_out == out_.size()) {
      if (stream_.avail_in == 0) {
        BRUME_TRY(const auto bytes, input_.read());
        if (bytes.empty()) {
          if (!member_ended_) return fail(Code::kCorrupt, "the gzip stream is cut short");
          return std::string_view();
        }
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
        stream_.avail_in = static_cast<uInt>(bytes.size());
      }
      if (member_ended_) {  // gzip members may follow each other
        inflateReset(&stream_);
        member_ended_ = false;
      }
      const int code = inflate(&stream_, Z_NO_FLUSH);
      if (code == Z_STREAM_END) {
        member_ended_ = true;
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        return fail(Code::kCorrupt,
                    std::string("the gzip stream is damaged: ") + (stream_.msg != nullptr ? stream_.msg : "?"));
      }
    }
    const std::string_view bytes(out_.data(), out_.size() - stream_.avail_out);
    hash_.update(bytes);
    return bytes;
  }

 private:
  Input input_;
  std::vector<char> out_;
  z_stream stream_{};
  bool member_ended_ = false;
};

class Zstd final : public Decompressor {
 public:
  explicit Zstd(Input input)
      : input_(std::move(input)), out_(kChunk), stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {
    ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kZstdMaxWindowLog);
  }

  Result<std::string_view> read() override {
    ZSTD_outBuffer out{out_.data(), out_.size(), 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size) {
        BRUME_TRY(const auto bytes, input_.read());
        if (bytes.empty()) {
          if (pending_ != 0) return fail(Code::kCorrupt, "the zstd stream is cut short");
          return std::string_view();
        }
        in_ = {bytes.data(), bytes.size(), 0};
      }
      pending_ = ZSTD_decompressStream(stream_.get(), &out, &in_);
      if (ZSTD_isError(pending_) != 0) {
        return fail(Code::kCorrupt, std::string("the zstd stream is damaged: ") + ZSTD_getErrorName(pending_));
      }
    }
    const std::string_view bytes(out_.data(), out.pos);
    hash_.update(bytes);
    return bytes;
  }

 private:
  Input input_;
  std::vector<char> out_;
  std::unique_ptr<ZSTD_DStream, std::size_t (*)(ZSTD_DStream*)> stream_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  std::size_t pending_ = 0;
};

}  // namespace

Result<std::unique_ptr<Decompressor>> Decompressor::open(const std::string& path) {
  BRUME_TRY(auto fd, linux_os::open_fd(path, O_RDONLY | O_NOFOLLOW));
  std::array<unsigned char, 4> magic{};
  const ssize_t got = ::pread(fd.get(), magic.data(), magic.size(), 0);
  if (got < 0) return fail_errno(errno, path);
  Input input(std::move(fd));
  if (got >= 2 && magic[0] == 0x1f && magic[1] == 0x8b) {
    auto gzip = std::make_unique<Gzip>(std::move(input));
    if (!gzip->init()) return fail(Code::kInternal, "zlib has no memory");
    return gzip;
  }
  if (got == 4 && magic == std::array<unsigned char, 4>{0x28, 0xb5, 0x2f, 0xfd})
    return std::make_unique<Zstd>(std::move(input));
  return std::make_unique<Plain>(std::move(input));
}

}  // namespace brume::runtime
