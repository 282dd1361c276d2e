// InputFile: a file open for positioned reads from any thread. Reads go into the caller's buffers,
// so that memory stays bounded and a file that shrinks underneath is an error, not a signal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace arrow_quant {

class InputFile {
 public:
  // Throws: Error(Io), also for a directory.
  static InputFile open(const std::filesystem::path& path);

  InputFile(InputFile&&) noexcept;
  InputFile& operator=(InputFile&&) noexcept;
  ~InputFile();

  const std::filesystem::path& path() const { return path_; }
  // At the time of opening.
  uint64_t size_bytes() const { return size_bytes_; }

  // Fills `out` from `offset`. Throws: Error(Io) on failure or if the file ends before.
  void read_at(uint64_t offset, std::span<uint8_t> out) const;

 private:
  InputFile(std::filesystem::path path, int fd, uint64_t size_bytes);

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
};

}  // namespace arrow_quant
