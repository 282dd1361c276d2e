// Buffer: the one owner of bulk bytes. Movable, not copyable, 64-byte aligned, never initialized.
// Large buffers ask for huge pages, since first touches of 4 KiB pages are slower than quantizing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace arrow_quant {

class Buffer {
 public:
  Buffer() = default;
  // Throws: std::bad_alloc.
  explicit Buffer(size_t size_bytes);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  size_t size_bytes() const { return size_bytes_; }
  bool empty() const { return size_bytes_ == 0; }

  std::span<uint8_t> bytes() { return {data(), size_bytes_}; }
  std::span<const uint8_t> bytes() const { return {data(), size_bytes_}; }

  // The bytes seen as elements of T, from the start; a rest shorter than a T is left out.
  template <class T>
  std::span<T> as() {
    return {reinterpret_cast<T*>(data()), size_bytes_ / sizeof(T)};
  }
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data()), size_bytes_ / sizeof(T)};
  }

  // Makes the buffer at least size_bytes large; its contents are lost if it has to grow.
  void reserve(size_t size_bytes);

  // Makes the buffer exactly size_bytes large, in the memory that it has where that is enough;
  // its contents are unspecified.
  void resize(size_t size_bytes);
  // What resize() can give without new memory.
  size_t capacity_bytes() const { return capacity_bytes_; }

 private:
  struct Free {
    void operator()(uint8_t* data) const;
  };
  std::unique_ptr<uint8_t[], Free> data_;
  size_t size_bytes_ = 0;
  size_t capacity_bytes_ = 0;
};

}  // namespace arrow_quant
