#include "arrow_quant/pipeline/replacement.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string>

#include "arrow_quant/core/atomic_file.h"
#include "arrow_quant/core/error.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

fs::path beside(const fs::path& path, const char* ending) {
  return path.parent_path() / ("." + path.filename().string() + ".arrow_quant-" + ending);
}

fs::path record_path(const fs::path& path) {
  return beside(path, "old");
}

// Where the old model is for a moment if the swap takes two steps.
fs::path aside_path(const fs::path& path) {
  return beside(path, "new.old");
}

// What tells a file or directory from others on its file system, under whatever name. Nothing: it
// is not there.
std::optional<uint64_t> inode_of(const fs::path& path) {
  struct stat status;
  if (lstat(path.c_str(), &status) != 0) {
    return std::nullopt;
  }
  return status.st_ino;
}

std::optional<uint64_t> recorded_inode(const fs::path& path) {
  std::ifstream record(record_path(path));
  uint64_t inode = 0;
  return record >> inode ? std::optional(inode) : std::nullopt;
}

}  // namespace

fs::path replacement_path(const fs::path& path) {
  return beside(path, "new");
}

void swap_in(const fs::path& path) {
  const fs::path made = replacement_path(path);
  const std::optional<uint64_t> old = inode_of(path);
  if (!old) {
    throw_io_error("find", path, errno);
  }
  AtomicFile record(record_path(path));
  record.write(std::to_string(*old) + "\n");
  record.commit();
  if (renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) != 0) {
    fs::rename(path, aside_path(path));
    fs::rename(made, path);
  }
  sync_directory(path.parent_path());
}

void finish_replacement(const fs::path& path) {
  const std::optional<uint64_t> old = recorded_inode(path);
  if (!old) {
    return;
  }
  const fs::path made = replacement_path(path);
  const fs::path aside = aside_path(path);
  if (inode_of(aside) == old && !inode_of(path)) {
    fs::rename(aside, path);
  }
  for (const fs::path& place : {aside, made}) {
    if (inode_of(place) == old) {
      fs::remove_all(place);
    }
  }
  if (!inode_of(made)) {  // else a run is about to swap it in, or will take it up again
    fs::remove(record_path(path));
  }
}

}  // namespace arrow_quant
