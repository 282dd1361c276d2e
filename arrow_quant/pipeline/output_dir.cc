#include "arrow_quant/pipeline/output_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <vector>

#include "arrow_quant/core/atomic_file.h"
#include "arrow_quant/core/buffer.h"
#include "arrow_quant/core/error.h"
#include "arrow_quant/io/hash.h"
#include "arrow_quant/io/input_file.h"
#include "arrow_quant/pipeline/replacement.h"

namespace fs = std::filesystem;

namespace arrow_quant {
namespace {

bool is_empty_dir(const fs::path& path) {
  return fs::is_directory(path) && fs::is_empty(path);
}

// A killed run may have left nothing but the first journal's or the manifest's temporary file.
bool is_unfinished_run(const fs::path& path) {
  if (!fs::is_directory(path)) {
    return false;
  }
  for (const char* name : {kJournalName, kManifestName}) {
    if (fs::exists(AtomicFile::temporary_path(path / name))) {
      return true;
    }
  }
  return fs::exists(path / kJournalName);
}

// Absolute, with links resolved as far as the path exists.
fs::path real_path(const fs::path& path) {
  if (path.empty()) {
    throw Error(ErrorCode::Configuration,
                "the output's name is empty; name the directory to write");
  }
  std::error_code error;
  fs::path real = fs::weakly_canonical(fs::absolute(path), error);
  if (error) {
    throw Error(ErrorCode::Io,
                "cannot use " + path.string() + ": " + error.message() + "; name another output",
                path, error.value());
  }
  return real.filename().empty() ? real.parent_path() : real;  // "dir/" → "dir"
}

bool is_inside(const fs::path& path, const fs::path& directory) {
  const auto [end, unused] =
      std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return end == directory.end();
}

bool is_finished_model(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path / kManifestName, ignored)) {
    return false;
  }
  try {
    parse_manifest(read_text_file(path / kManifestName), "");
    return true;
  } catch (const Error& error) {
    return error.code() == ErrorCode::Unsupported;  // of a newer version
  }
}

// What must never be replaced by a model, whatever the caller says; nor is anything that stands
// where the model is made, unless a run left it.
void refuse_to_replace(const fs::path& path) {
  if (is_inside(fs::current_path(), path)) {
    throw Error(ErrorCode::Configuration,
                path.string() +
                    " holds the current directory and is not replaced; name another "
                    "output");
  }
  const fs::path made = replacement_path(path);
  std::error_code ignored;
  const bool ours = !fs::is_symlink(made, ignored) &&
                    (is_empty_dir(made) || is_unfinished_run(made) || is_finished_model(made));
  if (fs::exists(fs::symlink_status(made, ignored)) && !ours) {
    throw Error(ErrorCode::OutputExists,
                made.string() + " is where the model is made that replaces " + path.string() +
                    ", and holds something else; move it away, or name another output");
  }
}

}  // namespace

std::string read_text_file(const fs::path& path) {
  const InputFile file = InputFile::open(path);
  std::string text(file.size_bytes(), '\0');
  file.read_at(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return text;
}

bool stands(const FileRecord& record, const fs::path& root, const CancelToken* cancel) {
  const fs::path path = root / record.path;
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored) || fs::file_size(path, ignored) != record.size_bytes) {
    return false;
  }
  const InputFile file = InputFile::open(path);
  Buffer bytes(std::min<uint64_t>(record.size_bytes, uint64_t{4} << 20));
  Xxh3_128 hash;
  for (uint64_t offset = 0; offset < record.size_bytes; offset += bytes.size_bytes()) {
    const auto piece =
        bytes.bytes().first(std::min<uint64_t>(bytes.size_bytes(), record.size_bytes - offset));
    check_cancelled(cancel);
    file.read_at(offset, piece);
    hash.update(piece);
  }
  return hash.hex_digest() == record.xxh3_128;
}

void check_output_apart_from_input(const fs::path& output, const fs::path& input) {
  const fs::path out = real_path(output);
  const fs::path in = real_path(input);
  if (out == in) {
    throw Error(ErrorCode::Configuration,
                "output " + output.string() + " is the input itself; name another directory");
  }
  if (is_inside(out, in)) {
    throw Error(ErrorCode::Configuration, "output " + output.string() + " lies inside the input " +
                                              input.string() + "; name a directory outside");
  }
  if (is_inside(in, out)) {
    throw Error(ErrorCode::Configuration, "the input " + input.string() +
                                              " lies inside the output " + output.string() +
                                              "; name another directory");
  }
}

OutputDir::OutputDir(const fs::path& path, const fs::path& input, const std::string& fingerprint,
                     bool overwrite, const CancelToken* cancel)
    : path_(real_path(path)), work_path_(path_), cancel_(cancel) {
  // A single file may be quantized into its own folder's subfolder, never into itself.
  check_output_apart_from_input(path_, input);
  finish_replacement(path_);
  std::error_code error;
  const fs::file_status status = fs::status(path_, error);
  existed_ = fs::exists(status);
  if (existed_ && fs::is_regular_file(path_ / kManifestName, error)) {
    try {
      finished_ =
          parse_manifest(read_text_file(path_ / kManifestName), (path_ / kManifestName).string());
      return;
    } catch (const Error&) {
      if (!overwrite) throw;
    }
  }
  if (existed_ && !is_empty_dir(path_) && !is_unfinished_run(path_)) {
    if (!overwrite) {
      throw Error(ErrorCode::OutputExists,
                  path_.string() +
                      (fs::is_directory(status) ? " holds files that are not an unfinished run"
                                                : " is not a directory") +
                      "; name another output, or replace it with overwrite=True (--overwrite)");
    }
    begin_replacement();
  }
  begin(fingerprint);
}

OutputDir::OutputDir(const fs::path& path, const std::string& fingerprint,
                     const CancelToken* cancel)
    : path_(real_path(path)), work_path_(path_), cancel_(cancel) {
  finish_replacement(path_);
  begin_replacement();
  begin(fingerprint);
}

OutputDir OutputDir::in_place_of(const fs::path& path, const std::string& fingerprint,
                                 const CancelToken* cancel) {
  return OutputDir(path, fingerprint, cancel);
}

void OutputDir::replace_finished(const std::string& fingerprint) {
  finished_.reset();
  begin_replacement();
  begin(fingerprint);
}

void OutputDir::keep_finished() {
  const fs::path made = replacement_path(path_);
  if (!is_finished_model(made)) {
    return;
  }
  try {
    const Lock lock(made);
    fs::remove_all(made);
  } catch (const Error&) {
    // Another run is about to put it into place.
  }
}

void OutputDir::begin_replacement() {
  refuse_to_replace(path_);
  work_path_ = replacement_path(path_);
  existed_ = false;
}

void OutputDir::begin(const std::string& fingerprint) {
  std::error_code error;
  if (fs::is_symlink(work_path_, error)) {
    throw Error(ErrorCode::OutputExists,
                work_path_.string() + " is a link to " + fs::read_symlink(work_path_).string() +
                    ", which is not there; make that directory, or remove the link");
  }
  fs::create_directories(work_path_, error);
  if (error) {
    throw_io_error("create the directory", work_path_, error.value());
  }
  lock_.emplace(work_path_);
  if (fs::exists(work_path_ / kJournalName)) {
    try {
      Journal journal = parse_journal(read_text_file(work_path_ / kJournalName),
                                      (work_path_ / kJournalName).string());
      if (journal.fingerprint == fingerprint) {
        keep_standing_parts(journal);
        clear(journal.components);
        journal_ = std::move(journal);
        return;
      }
    } catch (const Error& unreadable) {
      if (unreadable.code() == ErrorCode::Cancelled) throw;
      // An unreadable journal is as good as none: the run starts over.
    }
  }
  start_over(fingerprint);
}

void OutputDir::start_over(const std::string& fingerprint) {
  journal_.reset();
  write_journal({fingerprint, {}, {}});  // first, so that a kill while clearing leaves our mark
  clear({});
}

// A part that is missing or damaged, and those after it, are made again.
void OutputDir::keep_standing_parts(Journal& journal) const {
  for (ComponentRecord& component : journal.components) {
    const auto broken = std::find_if(
        component.parts.begin(), component.parts.end(),
        [&](const PartRecord& part) { return !stands(part.file, work_path_, cancel_); });
    component.parts.erase(broken, component.parts.end());
  }
}

OutputDir::Lock::Lock(const fs::path& directory)
    : fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (fd < 0) {
    throw_io_error("open the directory", directory, errno);
  }
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    close(fd);
    throw Error(ErrorCode::OutputExists,
                directory.string() + " is being written by another run; wait for it to end");
  }
}

OutputDir::Lock::~Lock() {
  close(fd);
}

OutputDir::~OutputDir() = default;

void OutputDir::write_journal(const Journal& journal) {
  AtomicFile file(work_path_ / kJournalName);
  file.write(to_json(journal));
  file.commit();
}

void OutputDir::publish(const std::string& manifest_json) {
  {
    AtomicFile manifest(work_path_ / kManifestName);
    manifest.write(manifest_json);
    fs::remove(work_path_ / kJournalName);
    manifest.commit();
  }
  if (work_path_ != path_) {
    swap_in(path_);
    finish_replacement(path_);
  }
}

// Removes everything but the journal and these components' parts.
void OutputDir::clear(const std::vector<ComponentRecord>& components) {
  std::set<fs::path> wanted = {work_path_ / kJournalName};
  for (const ComponentRecord& component : components) {
    for (const PartRecord& part : component.parts) {
      wanted.insert(work_path_ / part.file.path);
    }
  }
  std::vector<fs::path> unwanted;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(work_path_)) {
    if (!entry.is_directory() && !wanted.contains(entry.path())) {
      unwanted.push_back(entry.path());
    }
  }
  for (const fs::path& path : unwanted) {
    fs::remove(path);
  }
  if (components.empty()) {
    for (const fs::directory_entry& entry : fs::directory_iterator(work_path_)) {
      if (entry.is_directory()) {
        fs::remove_all(entry.path());
      }
    }
  }
}

void OutputDir::discard() {
  clear({});
  fs::remove(work_path_ / kJournalName);
  if (!existed_) {
    std::error_code ignored;
    fs::remove(work_path_, ignored);
  }
}

}  // namespace arrow_quant
