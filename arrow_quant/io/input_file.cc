#include "arrow_quant/io/input_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "arrow_quant/core/error.h"

namespace arrow_quant {

InputFile InputFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe must end in the check below instead of waiting for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    throw_io_error("open", path, errno);
  }
  InputFile file(path, fd, 0);
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    throw_io_error("read the size of", path, errno);
  }
  if (S_ISDIR(status.st_mode)) {
    throw_io_error("read", path, EISDIR);
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::Io,
                "cannot read " + path.string() + ": it is a device, pipe or socket; only regular " +
                    "files can be read at any position",
                path, EINVAL);
  }
  file.size_bytes_ = static_cast<uint64_t>(status.st_size);
  return file;
}

InputFile::InputFile(std::filesystem::path path, int fd, uint64_t size_bytes)
    : path_(std::move(path)), fd_(fd), size_bytes_(size_bytes) {}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      mapped_(std::exchange(other.mapped_, nullptr)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

InputFile::~InputFile() {
  if (mapped_ != nullptr) {
    ::munmap(mapped_, size_bytes_);
  }
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

void InputFile::read_at(uint64_t offset, std::span<uint8_t> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got > 0) {
      done += static_cast<size_t>(got);
    } else if (got == 0) {
      throw Error(ErrorCode::Io,
                  "cannot read " + path_.string() + ": it ends at byte " +
                      std::to_string(offset + done) + ", but had " + std::to_string(size_bytes_) +
                      " bytes when it was opened and " + std::to_string(offset + out.size()) +
                      " are needed; leave the file alone while it is read, or fetch it again",
                  path_, EIO);
    } else if (errno != EINTR) {
      throw_io_error("read", path_, errno);
    }
  }
}

bool InputFile::holds(uint64_t size_bytes) const {
  struct stat status;
  return ::fstat(fd_, &status) == 0 && static_cast<uint64_t>(status.st_size) >= size_bytes;
}

void InputFile::map() {
  if (mapped_ != nullptr || size_bytes_ == 0) {
    return;
  }
  void* const whole = ::mmap(nullptr, size_bytes_, PROT_READ, MAP_SHARED, fd_, 0);
  if (whole == MAP_FAILED) {
    return;
  }
  ::madvise(whole, size_bytes_, MADV_SEQUENTIAL);  // a wish: read far ahead
  mapped_ = static_cast<uint8_t*>(whole);
}

}  // namespace arrow_quant
