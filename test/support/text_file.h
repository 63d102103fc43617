// A file that a test's parser reads, gone at the end of the test.
#pragma once

#include <cstdio>
#include <fstream>
#include <string>

#include "brume/base/random.h"

namespace brume::test {

struct TextFile {
  std::string path = "/tmp/brume-text-" + random_suffix(8);
  explicit TextFile(const std::string& text) { std::ofstream(path) << text; }
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;
  ~TextFile() { std::remove(path.c_str()); }
};

}  // namespace brume::test
