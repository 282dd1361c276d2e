# Third-party packages, each with the one layer that may include its headers (see layer.cmake).
find_package(Threads REQUIRED)
find_package(hwy REQUIRED)              # kernels
find_package(yaml-cpp REQUIRED)         # config
find_package(nlohmann_json REQUIRED)    # io, cli
include(arrow)                          # io

# quant. Sums of a fixed order: no vectors, which are of another length elsewhere, and blocks that
# do not depend on the caches of the machine.
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
add_library(arrow_quant_eigen INTERFACE)
target_link_libraries(arrow_quant_eigen INTERFACE Eigen3::Eigen)
target_compile_definitions(arrow_quant_eigen INTERFACE
  EIGEN_MPL2_ONLY EIGEN_DONT_PARALLELIZE EIGEN_DONT_VECTORIZE EIGEN_NO_CPUID
  EIGEN_DEFAULT_L1_CACHE_SIZE=32768 EIGEN_DEFAULT_L2_CACHE_SIZE=262144
  EIGEN_DEFAULT_L3_CACHE_SIZE=2097152)

# io. Where the library brings functions that choose the instruction set at run time, they are four
# times as fast as the header compiled for the oldest one.
find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
find_library(XXHASH_LIBRARY xxhash)
add_library(arrow_quant_xxhash INTERFACE)
target_include_directories(arrow_quant_xxhash SYSTEM INTERFACE ${XXHASH_INCLUDE_DIR})
if(XXHASH_LIBRARY)
  include(CheckSymbolExists)
  set(CMAKE_REQUIRED_INCLUDES ${XXHASH_INCLUDE_DIR})
  set(CMAKE_REQUIRED_LIBRARIES ${XXHASH_LIBRARY})
  check_symbol_exists(XXH3_128bits_update_dispatch xxh_x86dispatch.h ARROW_QUANT_XXHASH_DISPATCH)
  unset(CMAKE_REQUIRED_INCLUDES)
  unset(CMAKE_REQUIRED_LIBRARIES)
  if(ARROW_QUANT_XXHASH_DISPATCH)
    target_link_libraries(arrow_quant_xxhash INTERFACE ${XXHASH_LIBRARY})
    target_compile_definitions(arrow_quant_xxhash INTERFACE ARROW_QUANT_XXHASH_DISPATCH)
  endif()
endif()

if(ARROW_QUANT_TESTS)
  find_package(GTest REQUIRED)
  enable_testing()
  include(GoogleTest)
endif()
if(ARROW_QUANT_BENCH)
  find_package(benchmark REQUIRED)
endif()
