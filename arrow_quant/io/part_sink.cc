#include "arrow_quant/io/part_sink.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <arrow/status.h>

#include "arrow_quant/core/error.h"

namespace arrow_quant {
namespace {

constexpr size_t kPendingBytes = size_t{64} << 10;
// Hashed, then written while still in cache.
constexpr size_t kSliceBytes = size_t{256} << 10;

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  return path.parent_path() /
         ("." + path.filename().string() + ".tmp-" + std::to_string(::getpid()));
}

void sync_directory(const std::filesystem::path& directory) {
  const std::filesystem::path name = directory.empty() ? "." : directory;
  const int fd = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    throw_io_error("open directory", name, errno);
  }
  const int result = ::fsync(fd);
  const int sync_errno = errno;
  ::close(fd);
  if (result != 0) {
    throw_io_error("flush directory", name, sync_errno);
  }
}

}  // namespace

PartSink::PartSink(std::filesystem::path path)
    : path_(std::move(path)), temporary_(temporary_name(path_)) {
  ::unlink(temporary_.c_str());  // of a process that died and had our number
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    throw_io_error("create", temporary_, errno);
  }
  pending_.reserve(kPendingBytes);
}

PartSink::~PartSink() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

arrow::Status PartSink::Write(const void* data, int64_t size_bytes) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  const size_t size = static_cast<size_t>(size_bytes);
  bool ok = write_errno_ == 0;
  if (ok && pending_.size() + size > kPendingBytes) {
    ok = flush_pending();
  }
  if (ok && size > kPendingBytes) {
    ok = write_through(bytes, size);
  } else if (ok) {
    pending_.insert(pending_.end(), bytes, bytes + size);
  }
  if (!ok) {
    return arrow::Status::IOError("write failed");
  }
  position_ += size_bytes;
  return arrow::Status::OK();
}

bool PartSink::flush_pending() {
  const bool ok = write_through(pending_.data(), pending_.size());
  pending_.clear();
  return ok;
}

bool PartSink::write_through(const uint8_t* data, size_t size_bytes) {
  while (size_bytes > 0) {
    const size_t slice = std::min(size_bytes, kSliceBytes);
    hash_.update({data, slice});
    for (size_t done = 0; done < slice;) {
      const ssize_t written = ::write(fd_, data + done, slice - done);
      if (written < 0 && errno == EINTR) {
        continue;
      }
      if (written <= 0) {
        write_errno_ = written < 0 ? errno : ENOSPC;
        return false;
      }
      done += static_cast<size_t>(written);
    }
    data += slice;
    size_bytes -= slice;
  }
  return true;
}

void PartSink::commit() {
  if (write_errno_ != 0 || !flush_pending()) {
    throw_io_error("write", path_, write_errno_);
  }
  if (::fsync(fd_) != 0) {
    throw_io_error("flush", path_, errno);
  }
  // Some file systems report a failed write only here.
  if (::close(std::exchange(fd_, -1)) != 0) {
    const int close_errno = errno;
    ::unlink(temporary_.c_str());
    throw_io_error("close", path_, close_errno);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int rename_errno = errno;
    ::unlink(temporary_.c_str());
    throw_io_error("rename into place", path_, rename_errno);
  }
  sync_directory(path_.parent_path());
}

}  // namespace arrow_quant
