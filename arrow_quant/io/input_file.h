// InputFile: a file open for positioned reads from any thread. read_at() fills the caller's buffer;
// a file that shrinks underneath is then an error. Bulk data are better seen by an InputReader.
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

  // Whether so many bytes are still there.
  bool holds(uint64_t size_bytes) const;

  // Reserves addresses, no memory, for the whole file, so that an InputReader need not copy it.
  // Where the file system cannot, or addresses are limited, the file stays as it is.
  void map();
  // Null unless mapped. Nobody may touch what an InputReader has not fetched.
  uint8_t* mapped() const { return mapped_; }

 private:
  InputFile(std::filesystem::path path, int fd, uint64_t size_bytes);

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_bytes_ = 0;
  uint8_t* mapped_ = nullptr;
};

}  // namespace arrow_quant
