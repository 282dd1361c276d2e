# The installed C++ package: find_package(ArrowQuant) → ArrowQuant::arrow_quant.
# cmake --install BUILD --component devel --prefix PREFIX
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# arrow_quant.h and what it includes; the other headers are the library's own.
set(_public_headers
  arrow_quant.h
  config/choices.h config/config.h config/environment.h config/options.h
  core/buffer.h core/cancel.h core/dtype.h core/error.h core/log.h core/memory_budget.h core/progress.h
  diffusion/markov.h diffusion/modality.h diffusion/thermodynamic.h diffusion/value_range.h
  io/allocation.h io/arrow_batch.h io/block_extras.h io/calibration_file.h io/coded_batch.h io/layer_report.h
  io/manifest.h io/quantized_block.h io/time_groups.h io/weight_row.h
  pipeline/inspect.h pipeline/mechanisms.h pipeline/orchestrator.h pipeline/quantize_batch.h
  pipeline/quantized_model.h pipeline/result.h pipeline/revise_model.h pipeline/shared_resources.h
  quant/bit_width.h quant/metrics.h quant/quantize.h quant/transforms.h)
foreach(_header ${_public_headers})
  get_filename_component(_folder "${_header}" DIRECTORY)
  install(FILES "${PROJECT_SOURCE_DIR}/arrow_quant/${_header}"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/arrow_quant/${_folder}" COMPONENT devel)
endforeach()

# Beside pyarrow in a Python environment, else where Arrow was found.
set_target_properties(arrow_quant PROPERTIES
  INSTALL_RPATH "$ORIGIN/../pyarrow;${ARROW_QUANT_ARROW_LIBRARY_DIR}")
install(TARGETS arrow_quant EXPORT ArrowQuantTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT devel)
install(EXPORT ArrowQuantTargets NAMESPACE ArrowQuant::
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ArrowQuant COMPONENT devel)
file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/ArrowQuantConfig.cmake"
  "include(\"\${CMAKE_CURRENT_LIST_DIR}/ArrowQuantTargets.cmake\")\n")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/ArrowQuantConfigVersion.cmake"
  COMPATIBILITY SameMajorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/ArrowQuantConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/ArrowQuantConfigVersion.cmake"
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ArrowQuant COMPONENT devel)
