# SPDX-License-Identifier: Apache-2.0
# What tutti is built from. Boost, cereal, CLI11 and toml++ are headers only.

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(prometheus-cpp REQUIRED CONFIG)
find_path(TUTTI_CEREAL_INCLUDE cereal/cereal.hpp REQUIRED)
find_path(TUTTI_TOMLPLUSPLUS_INCLUDE toml++/toml.h REQUIRED)

if(TUTTI_WITH_MPI)
  find_package(MPI REQUIRED COMPONENTS C)
endif()
if(TUTTI_BUILD_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

# LibTorch is linked by its libraries rather than by the wheel's find_package(Torch): that one demands a CUDA toolkit and sets
# nvcc's flags for everybody.
if(TUTTI_BUILD_WORKER)
  include(LibTorch)
endif()
