# Third-party packages, each with the one layer that may include its headers (see layer.cmake).
find_package(Threads REQUIRED)
find_package(hwy REQUIRED)              # kernels
find_package(yaml-cpp REQUIRED)         # config
find_package(nlohmann_json REQUIRED)    # io, cli
include(arrow)                          # io

find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
add_library(arrow_quant_xxhash INTERFACE)   # header-only use (XXH_INLINE_ALL); io
target_include_directories(arrow_quant_xxhash SYSTEM INTERFACE ${XXHASH_INCLUDE_DIR})

if(ARROW_QUANT_TESTS)
  find_package(GTest REQUIRED)
  enable_testing()
  include(GoogleTest)
endif()
if(ARROW_QUANT_BENCH)
  find_package(benchmark REQUIRED)
endif()
