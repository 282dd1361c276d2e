// OutputDir: the directory that a run writes, and what may already stand there.
//
// While a run is unfinished, a journal stands beside the parts; a manifest, written last, makes the
// directory a finished model. One run at a time may write a directory.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "arrow_quant/core/cancel.h"
#include "arrow_quant/io/manifest.h"

namespace arrow_quant {

class OutputDir {
 public:
  // Looks at `path`, makes the directory if need be, and locks it. Where something else stands
  // there and `overwrite` is set, the run goes to a directory beside it that takes its place in
  // publish(). Throws: Error(OutputExists), Error(Configuration) where the output would touch the
  // input, Error(Io).
  // fingerprint: of the run; it decides between resuming and starting over. cancel: may be null,
  // outlives the object.
  OutputDir(const std::filesystem::path& path, const std::filesystem::path& input,
            const std::string& fingerprint, bool overwrite, const CancelToken* cancel);
  // A run whose model takes the place of the finished one at `path`, from which it is made: as
  // where something is overwritten. Throws: Error(OutputExists) while another run does this,
  // Error(Configuration) where `path` must not be replaced, Error(Io).
  static OutputDir in_place_of(const std::filesystem::path& path, const std::string& fingerprint,
                               const CancelToken* cancel);
  ~OutputDir();
  OutputDir(const OutputDir&) = delete;
  OutputDir& operator=(const OutputDir&) = delete;

  // Where to write.
  const std::filesystem::path& path() const { return work_path_; }
  // What an earlier, unfinished run of the same fingerprint left. Its parts are there, with the
  // recorded sizes and hashes.
  const std::optional<Journal>& journal() const { return journal_; }
  // The manifest of a finished run that stands there; then nothing has been touched or locked.
  const std::optional<Manifest>& finished() const { return finished_; }
  // Says that finished() stays: removes a model beside it that a killed run made to take its place
  // or has replaced.
  void keep_finished();
  // Starts a run that will take the place of finished().
  void replace_finished(const std::string& fingerprint);

  // Forgets journal(), and removes the parts that it records.
  void start_over(const std::string& fingerprint);

  void write_journal(const Journal& journal);
  // Removes the journal, puts the manifest into place, and the directory where it belongs.
  void publish(const std::string& manifest_json);
  // Removes all that this and earlier unfinished runs wrote.
  void discard();

 private:
  // Held for as long as the run may write.
  struct Lock {
    explicit Lock(const std::filesystem::path& directory);
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    const int fd;
  };

  OutputDir(const std::filesystem::path& path, const std::string& fingerprint,
            const CancelToken* cancel);

  void begin_replacement();
  void begin(const std::string& fingerprint);
  void keep_standing_parts(Journal& journal) const;
  void clear(const std::vector<ComponentRecord>& components);

  std::filesystem::path path_;       // where the model belongs
  std::filesystem::path work_path_;  // where it is written; differs only when overwriting
  bool existed_ = false;             // the directory was there, empty, before
  const CancelToken* cancel_;
  std::optional<Lock> lock_;
  std::optional<Journal> journal_;
  std::optional<Manifest> finished_;
};

// Throws: Error(Configuration) if `output` is `input`, inside it, or around it.
void check_output_apart_from_input(const std::filesystem::path& output,
                                   const std::filesystem::path& input);

// The whole file. Throws: Error(Io).
std::string read_text_file(const std::filesystem::path& path);

// Size and hash of `file` under `root` agree with the record. cancel may be null.
// Throws: Error(Cancelled).
bool stands(const FileRecord& file, const std::filesystem::path& root, const CancelToken* cancel);

}  // namespace arrow_quant
