# SPDX-License-Identifier: Apache-2.0
# The target tutti::torch: LibTorch from TUTTI_TORCH_ROOT, a folder with include/ and lib/ as the wheel `torch` carries it.

if(NOT EXISTS ${TUTTI_TORCH_ROOT}/include/torch/csrc/api/include/torch/torch.h)
  message(FATAL_ERROR "LibTorch was not found in ${TUTTI_TORCH_ROOT}: expected include/torch/csrc/api/include/torch/torch.h "
                      "there. launch/quickstart.sh installs it, or set TUTTI_TORCH_ROOT to the folder of a torch wheel.")
endif()

# The wheel's CUDA runtime lies beside it; a CUDA toolkit on the machine serves as well.
set(TUTTI_TORCH_LIBRARY_DIRS ${TUTTI_TORCH_ROOT}/lib)
foreach(part cu13 nccl cudnn)
  if(IS_DIRECTORY ${TUTTI_TORCH_ROOT}/../nvidia/${part}/lib)
    get_filename_component(dir ${TUTTI_TORCH_ROOT}/../nvidia/${part}/lib ABSOLUTE)
    list(APPEND TUTTI_TORCH_LIBRARY_DIRS ${dir})
  endif()
endforeach()

function(tutti_import_torch_library name)
  add_library(tutti_torch_${name} SHARED IMPORTED GLOBAL)
  set_target_properties(tutti_torch_${name} PROPERTIES IMPORTED_LOCATION ${TUTTI_TORCH_ROOT}/lib/lib${name}.so)
endfunction()
tutti_import_torch_library(c10)
tutti_import_torch_library(torch_cpu)

add_library(tutti_torch INTERFACE IMPORTED GLOBAL)
add_library(tutti::torch ALIAS tutti_torch)
target_include_directories(tutti_torch SYSTEM INTERFACE ${TUTTI_TORCH_ROOT}/include
                                                        ${TUTTI_TORCH_ROOT}/include/torch/csrc/api/include)
target_compile_definitions(tutti_torch INTERFACE USE_DISTRIBUTED USE_C10D_GLOO)
target_link_libraries(tutti_torch INTERFACE tutti_torch_torch_cpu tutti_torch_c10)
target_link_options(tutti_torch INTERFACE "LINKER:--allow-shlib-undefined")
foreach(dir ${TUTTI_TORCH_LIBRARY_DIRS})
  target_link_options(tutti_torch INTERFACE "LINKER:-rpath,${dir}")
endforeach()

if(TUTTI_WITH_CUDA)
  tutti_import_torch_library(c10_cuda)
  tutti_import_torch_library(torch_cuda)
  # Nothing of ours may call it by name, and yet LibTorch has no GPU without it.
  target_link_libraries(tutti_torch INTERFACE -Wl,--no-as-needed tutti_torch_torch_cuda -Wl,--as-needed tutti_torch_c10_cuda)
  # The wheel's own NCCL first: libtorch_cuda.so needs one at least as new.
  find_package(CUDAToolkit 13 REQUIRED)
  find_path(TUTTI_NCCL_INCLUDE nccl.h HINTS ${TUTTI_TORCH_ROOT}/../nvidia/nccl/include ${CUDAToolkit_INCLUDE_DIRS} REQUIRED)
  find_library(TUTTI_NCCL_LIBRARY NAMES libnccl.so.2 nccl HINTS ${TUTTI_TORCH_ROOT}/../nvidia/nccl/lib ${CUDAToolkit_LIBRARY_DIR} REQUIRED)
endif()
