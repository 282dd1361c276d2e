# arrow_quant_layer(NAME DEPENDS layers… [LIBRARIES targets…])
#
# A folder below arrow_quant/ is a layer: every x.cc in it is compiled into the library, and every
# x_test.cc into the test program NAME_test. DEPENDS names the layers whose headers it may include;
# tools/check_layers.py holds the includes against these lines. LIBRARIES are third-party.
function(arrow_quant_layer name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cc")
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")

  if(NOT sources)
    return()
  endif()
  add_library(arrow_quant_${name} OBJECT ${sources})
  target_include_directories(arrow_quant_${name} PUBLIC "${PROJECT_SOURCE_DIR}")
  target_link_libraries(arrow_quant_${name} PRIVATE arrow_quant_flags ${ARG_LIBRARIES})
  target_sources(arrow_quant PRIVATE $<TARGET_OBJECTS:arrow_quant_${name}>)
  target_link_libraries(arrow_quant PRIVATE ${ARG_LIBRARIES})

  if(ARROW_QUANT_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE
      arrow_quant arrow_quant_flags ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE
      ARROW_QUANT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_MODE PRE_TEST)
  endif()
endfunction()
