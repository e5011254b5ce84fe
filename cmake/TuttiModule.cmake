# SPDX-License-Identifier: Apache-2.0
# How every target of tutti is made: one static library for a module, one executable for a unit test.

# Warnings are errors of ours, not of a user who builds tutti as a part of something else.
add_library(tutti_warnings INTERFACE)
target_compile_options(tutti_warnings INTERFACE -Wall -Wextra -Wpedantic -Wnon-virtual-dtor -Woverloaded-virtual -Wno-psabi
                                                $<$<BOOL:${PROJECT_IS_TOP_LEVEL}>:-Werror>)
# A source that is compiled together with others is no header.
target_compile_options(tutti_warnings INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
# g++ 12 sees overflows in std::string's inlined copies that are not there (GCC bugs 105329, 105651).
target_compile_options(tutti_warnings INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-stringop-overflow -Wno-array-bounds>)
# The sums of a shard equal LibTorch's to the bit: no contraction into fused multiply-adds.
target_compile_options(tutti_warnings INTERFACE -ffp-contract=off)

add_library(tutti_sanitizer INTERFACE)
if(TUTTI_SANITIZER STREQUAL "address")
  target_compile_options(tutti_sanitizer INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(tutti_sanitizer INTERFACE -fsanitize=address,undefined)
  # For a test's own code the address sanitizer is enough as far as pointers go; checking each twice takes a third of the compiler's time.
  set(TUTTI_TEST_OPTIONS -fno-sanitize=null,alignment,object-size,vptr)
elseif(TUTTI_SANITIZER STREQUAL "fuzzer")
  target_compile_options(tutti_sanitizer INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
                                                   -fno-omit-frame-pointer)
  target_link_options(tutti_sanitizer INTERFACE -fsanitize=address,undefined)
elseif(TUTTI_SANITIZER STREQUAL "thread")
  target_compile_options(tutti_sanitizer INTERFACE -fsanitize=thread -Wno-tsan)
  target_link_options(tutti_sanitizer INTERFACE -fsanitize=thread)
endif()

find_program(TUTTI_CCACHE ccache)
if(TUTTI_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TUTTI_CCACHE})
endif()
find_program(TUTTI_MOLD mold)
if(TUTTI_MOLD AND NOT TUTTI_SANITIZER)
  add_link_options(-fuse-ld=mold)
endif()

# What takes the compiler longest to read, read once for all tests. The libraries go without it: that shows that each of their sources
# includes what it needs.
set(TUTTI_LONG_HEADERS <gmock/gmock.h> <algorithm> <chrono> <filesystem> <functional> <map> <optional> <span> <string> <vector>
                       <boost/asio/io_context.hpp> <boost/asio/ip/tcp.hpp> <boost/asio/steady_timer.hpp>)

# tutti_module(NAME [TOGETHER] [DEPENDS targets of ours...] [LINK outside libraries...]): the static library tutti_NAME. Its sources
# are listed by target_sources() in the module's folders. Those of most modules are compiled one by one for a release: so each shows that
# it includes what it needs, and a mutant of the simulator can take its place. TOGETHER: not these, whose headers take too long.
function(tutti_module name)
  cmake_parse_arguments(ARG "TOGETHER" "" "DEPENDS;LINK;PRIVATE_LINK" ${ARGN})
  add_library(tutti_${name} STATIC)
  add_library(tutti::${name} ALIAS tutti_${name})
  target_include_directories(tutti_${name}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
           $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(tutti_${name} PUBLIC ${ARG_DEPENDS} ${ARG_LINK}
                        PRIVATE ${ARG_PRIVATE_LINK} $<BUILD_INTERFACE:tutti_warnings> $<BUILD_INTERFACE:tutti_sanitizer>)
  set_target_properties(tutti_${name} PROPERTIES EXPORT_NAME ${name})
  if(NOT TUTTI_SANITIZER AND NOT ARG_TOGETHER)
    set_target_properties(tutti_${name} PROPERTIES UNITY_BUILD OFF)
  endif()
endfunction()

# tutti_test(NAME SOURCES files... [LINK targets...] [LABEL label] [TIMEOUT seconds] [ENVIRONMENT name=value] [TORCH] [SERIAL]
# [ONE_THREAD] [APART]): one GoogleTest executable, each of its tests one of ctest's. Where one thread does all, the thread sanitizer has
# nothing to see: it is left out there. Under a sanitizer it takes longer to start a process than to run most tests: there an executable
# is one of ctest's, unless its tests, APART, are long enough to be shared out.
function(tutti_test name)
  cmake_parse_arguments(ARG "TORCH;SERIAL;ONE_THREAD;APART" "LABEL;TIMEOUT;ENVIRONMENT" "SOURCES;LINK" ${ARGN})
  if(ARG_ONE_THREAD AND TUTTI_SANITIZER STREQUAL "thread")
    return()
  endif()
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} tutti_warnings tutti_sanitizer GTest::gmock GTest::gtest_main)
  target_compile_options(${name} PRIVATE ${TUTTI_TEST_OPTIONS})
  if(ARG_TORCH)
    target_precompile_headers(${name} REUSE_FROM mnist)
  elseif(name STREQUAL common_base_test)
    target_precompile_headers(${name} PRIVATE ${TUTTI_LONG_HEADERS})
  else()
    target_precompile_headers(${name} REUSE_FROM common_base_test)
  endif()
  if(TUTTI_SANITIZER AND NOT ARG_APART)
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 600 COST 30 RUN_SERIAL ${ARG_SERIAL}
                                                ENVIRONMENT "${ARG_ENVIRONMENT}")
    return()
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                       PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT} RUN_SERIAL ${ARG_SERIAL}
                       ENVIRONMENT "${ARG_ENVIRONMENT}")
endfunction()
