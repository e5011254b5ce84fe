# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone. Most are shown to by the build, which compiles a source that includes them first of all, and that alone;
# for each of the others there is one that includes nothing else. Of the private ones only those without LibTorch, since it makes each of them as slow as
# a source.
set(needs_torch "#include [<\"](torch/|ATen/|c10/|tutti/[^e])")  # of tutti's own only error.h does without
set(include_folders include src .)
set(header_patterns include/tutti/*.h src/*.h launch/*.h)

set(built_first)
file(GLOB_RECURSE built CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/*.cpp ${CMAKE_SOURCE_DIR}/launch/*.cpp)
foreach(target tutti_worker tutti-bench)  # compiled together
  if(TARGET ${target})
    get_target_property(folder ${target} SOURCE_DIR)
    get_target_property(together ${target} SOURCES)
    list(TRANSFORM together PREPEND ${folder}/)
    list(REMOVE_ITEM built ${together})
  endif()
endforeach()
foreach(source ${built})
  file(STRINGS ${source} includes REGEX "^#include" LIMIT_COUNT 1)
  if(includes MATCHES "[<\"](.*)[>\"]")
    list(APPEND built_first ${CMAKE_MATCH_1})
  endif()
endforeach()

set(sources)
foreach(folder pattern IN ZIP_LISTS include_folders header_patterns)
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/${folder} ${CMAKE_SOURCE_DIR}/${pattern})
  foreach(header ${headers})
    if(header IN_LIST built_first)
      continue()
    endif()
    file(STRINGS ${CMAKE_SOURCE_DIR}/${folder}/${header} torch_includes REGEX "${needs_torch}")
    if((torch_includes AND (folder STREQUAL "src" OR NOT TUTTI_BUILD_WORKER)) OR (header MATCHES "mpi" AND NOT TUTTI_WITH_MPI))
      continue()
    endif()
    set(source ${CMAKE_CURRENT_BINARY_DIR}/self_contained/${header}.cpp)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n")
    list(APPEND sources ${source})
  endforeach()
endforeach()

add_library(tutti_self_contained OBJECT EXCLUDE_FROM_ALL ${sources})
set_target_properties(tutti_self_contained PROPERTIES UNITY_BUILD OFF)
target_compile_options(tutti_self_contained PRIVATE -O0)
target_link_libraries(tutti_self_contained PRIVATE tutti_warnings)
foreach(module common ps exchange worker mpi launch)
  if(TARGET tutti_${module})
    target_link_libraries(tutti_self_contained PRIVATE tutti_${module})
  endif()
endforeach()
if(TUTTI_WITH_MPI)
  target_link_libraries(tutti_self_contained PRIVATE MPI::MPI_C)
endif()
repository_test(EveryHeaderCompilesAlone
                COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR} --target tutti_self_contained --parallel 2
                LABEL integration TIMEOUT 600)
