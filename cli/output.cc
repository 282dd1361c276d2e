#include "cli/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "arrow_quant/core/error.h"
#include "cli/table.h"

namespace arrow_quant::cli {

void open_standard_streams() {
  int fd = 0;
  while (fd >= 0 && fd <= STDERR_FILENO) {  // open() gives the lowest free number
    fd = open("/dev/null", O_RDWR);
  }
  if (fd > STDERR_FILENO) {
    close(fd);
  }
}

void print(std::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if ((!written || std::fflush(stdout) != 0) && errno != EPIPE) {
    throw_io_error("write", "standard output", errno);
  }
}

void complain(std::string_view text) {
  std::string line = "arrow-quant: ";
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    line += printable(text.substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  std::fputs(line.c_str(), stderr);
}

}  // namespace arrow_quant::cli
