# Arrow and Parquet for C++, as targets arrow_quant_arrow and arrow_quant_parquet.
#
# Beside Python there must be one libarrow in the process, so the libraries inside the pyarrow wheel
# are taken wherever a Python with pyarrow is given or found. Otherwise a system Arrow serves.
set(ARROW_QUANT_PYTHON_EXECUTABLE "" CACHE FILEPATH "Python whose pyarrow provides libarrow")
if(ARROW_QUANT_PYTHON_EXECUTABLE)
  set(_python "${ARROW_QUANT_PYTHON_EXECUTABLE}")
elseif(DEFINED Python_EXECUTABLE)
  set(_python "${Python_EXECUTABLE}")
elseif(EXISTS "${PROJECT_SOURCE_DIR}/.venv/bin/python")
  set(_python "${PROJECT_SOURCE_DIR}/.venv/bin/python")
else()
  set(_python "")
endif()

set(_pyarrow "")
if(_python)
  execute_process(
    COMMAND "${_python}" -c
      "import pyarrow, os; print(';'.join([pyarrow.__version__, pyarrow.get_include(), os.path.dirname(pyarrow.__file__)]), end='')"
    OUTPUT_VARIABLE _pyarrow ERROR_QUIET RESULT_VARIABLE _pyarrow_rc)
endif()

if(_pyarrow AND _pyarrow_rc EQUAL 0)
  list(GET _pyarrow 0 ARROW_QUANT_PYARROW_VERSION)
  list(GET _pyarrow 1 _arrow_include)
  list(GET _pyarrow 2 ARROW_QUANT_ARROW_LIBRARY_DIR)
  string(REGEX MATCH "^[0-9]+" _arrow_major "${ARROW_QUANT_PYARROW_VERSION}")
  foreach(_name arrow parquet)
    set(_file "${ARROW_QUANT_ARROW_LIBRARY_DIR}/lib${_name}.so.${_arrow_major}00")
    if(NOT EXISTS "${_file}")
      message(FATAL_ERROR
        "pyarrow ${ARROW_QUANT_PYARROW_VERSION} has no ${_file}: reinstall it with "
        "'${_python} -m pip install --force-reinstall pyarrow'")
    endif()
    add_library(arrow_quant_${_name} SHARED IMPORTED GLOBAL)
    set_target_properties(arrow_quant_${_name} PROPERTIES
      IMPORTED_LOCATION "${_file}"
      INTERFACE_INCLUDE_DIRECTORIES "${_arrow_include}")
  endforeach()
  message(STATUS "Arrow: pyarrow ${ARROW_QUANT_PYARROW_VERSION} in ${ARROW_QUANT_ARROW_LIBRARY_DIR}")
elseif(ARROW_QUANT_PYTHON)
  message(FATAL_ERROR "The Python module needs pyarrow: run '${_python} -m pip install pyarrow'")
else()
  find_package(Arrow REQUIRED)
  find_package(Parquet REQUIRED)
  add_library(arrow_quant_arrow INTERFACE)
  target_link_libraries(arrow_quant_arrow INTERFACE Arrow::arrow_shared)
  add_library(arrow_quant_parquet INTERFACE)
  target_link_libraries(arrow_quant_parquet INTERFACE Parquet::parquet_shared)
  message(STATUS "Arrow: system package ${Arrow_VERSION}")
endif()
