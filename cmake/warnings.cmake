# Flags that every target of this project gets.
#
# -ffp-contract=off: a*b + c must round twice on every instruction set, or the same model would
# quantize to different bytes on different machines. -Wno-restrict: g++ 12 warns of std::string falsely.
add_library(arrow_quant_flags INTERFACE)
target_compile_options(arrow_quant_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wno-psabi -Wno-restrict -ffp-contract=off)
target_compile_definitions(arrow_quant_flags INTERFACE ARROW_QUANT_VERSION="${PROJECT_VERSION}")
if(ARROW_QUANT_SANITIZE)
  target_compile_options(arrow_quant_flags INTERFACE
    -fsanitize=${ARROW_QUANT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(arrow_quant_flags INTERFACE -fsanitize=${ARROW_QUANT_SANITIZE})
endif()
