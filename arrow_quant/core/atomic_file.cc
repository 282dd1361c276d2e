#include "arrow_quant/core/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <utility>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

constexpr off_t kWriteBackBytes = off_t{8} << 20;
constexpr off_t kWriteBackAhead = 4 * kWriteBackBytes;

std::atomic<int64_t> flush_nanoseconds{0};

// Writes the file's dirty pages piece by piece, so that a cancellation need not wait for all.
void write_back(int fd, off_t size_bytes, const CancelToken& cancel) {
  constexpr unsigned kStart = SYNC_FILE_RANGE_WRITE;
  constexpr unsigned kFinish =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const auto begin = std::chrono::steady_clock::now();
  for (off_t offset = 0; offset < size_bytes; offset += kWriteBackBytes) {
    cancel.check();
    // Several pieces are on their way at once. Where this does not work, or fails, fsync says so.
    ::sync_file_range(fd, offset, kWriteBackBytes, kStart);
    if (offset >= kWriteBackAhead) {
      ::sync_file_range(fd, offset - kWriteBackAhead, kWriteBackBytes, kFinish);
    }
  }
  cancel.check();
  flush_nanoseconds += std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
}

// fsync, with its time counted. Returns its errno; 0 if all is on disk.
int flush_to_disk(int fd) {
  const auto begin = std::chrono::steady_clock::now();
  const int os_errno = ::fsync(fd) == 0 ? 0 : errno;
  flush_nanoseconds += std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
  return os_errno;
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path, const CancelToken* cancel)
    : path_(std::move(path)), temporary_(temporary_path(path_)), cancel_(cancel) {
  // A leftover is unlinked rather than truncated: it may be a link to something else.
  if (::unlink(temporary_.c_str()) != 0 && errno != ENOENT) {
    throw_io_error("remove", temporary_, errno);
  }
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    throw_io_error("create", temporary_, errno);
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

std::filesystem::path AtomicFile::temporary_path(const std::filesystem::path& path) {
  return path.parent_path() / ("." + path.filename().string() + ".tmp");
}

void AtomicFile::write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(written));
      size_bytes_ += static_cast<uint64_t>(written);
    } else if (errno != EINTR) {
      throw_io_error("write", temporary_, errno);
    }
  }
}

void AtomicFile::write(std::string_view text) {
  write({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void AtomicFile::expect(uint64_t size_bytes) {
  // Where this is refused, writing works as before, or says itself what is wrong.
  if (size_bytes > 0) {
    ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(size_bytes_),
                static_cast<off_t>(size_bytes));
  }
}

void AtomicFile::commit() {
  if (cancel_ != nullptr) {
    write_back(fd_, static_cast<off_t>(size_bytes_), *cancel_);
  }
  if (const int os_errno = flush_to_disk(fd_); os_errno != 0) {
    throw_io_error("flush to disk", temporary_, os_errno);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    throw_io_error("rename to its final name", temporary_, errno);
  }
  ::close(std::exchange(fd_, -1));  // nothing is lost by a failure: all is on disk
  sync_directory(path_.parent_path());
}

void sync_directory(const std::filesystem::path& path) {
  const std::filesystem::path directory = path.empty() ? "." : path;
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    throw_io_error("open", directory, errno);
  }
  const int os_errno = flush_to_disk(fd);
  ::close(fd);
  // Some network and user-space file systems cannot flush a directory, and say EINVAL.
  if (os_errno != 0 && os_errno != EINVAL) {
    throw_io_error("flush to disk", directory, os_errno);
  }
}

double flush_seconds() {
  return static_cast<double>(flush_nanoseconds.load()) / 1e9;
}

}  // namespace arrow_quant
