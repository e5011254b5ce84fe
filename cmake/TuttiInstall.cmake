# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where, so that another project says find_package(tutti) and links tutti::tutti.
include(CMakePackageConfigHelpers)

set(TUTTI_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/tutti)
set(installed_modules)
foreach(module common monitor ps exchange worker mpi)
  if(TARGET tutti_${module})
    list(APPEND installed_modules tutti_${module})
  endif()
endforeach()

install(TARGETS ${installed_modules} EXPORT tuttiTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT tuttiTargets NAMESPACE tutti:: DESTINATION ${TUTTI_PACKAGE_DIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/tutti DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
foreach(program tutti tutti-bench)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

# Alerts and dashboards, for whoever has a Prometheus and a Grafana.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/monitoring DESTINATION ${CMAKE_INSTALL_DATADIR}/tutti)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tuttiConfig.cmake.in ${PROJECT_BINARY_DIR}/tuttiConfig.cmake
                              INSTALL_DESTINATION ${TUTTI_PACKAGE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tuttiConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tuttiConfig.cmake ${PROJECT_BINARY_DIR}/tuttiConfigVersion.cmake
              ${PROJECT_SOURCE_DIR}/cmake/LibTorch.cmake
        DESTINATION ${TUTTI_PACKAGE_DIR})
