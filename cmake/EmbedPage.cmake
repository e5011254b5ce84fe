# SPDX-License-Identifier: Apache-2.0
# Writes a C++ source that holds pages as constants of namespace tutti::monitor:
#
#   cmake -DFOLDER=src/common/monitor/page -DOUTPUT=pages.cpp "-DPAGES=kPage=page.html;kReport=report.html"
#         -P cmake/EmbedPage.cmake
#
# In a page, /*{NAME}*/ stands for the file NAME of the same folder. Where NAME has no dot it names no file and stays
# as it is, for the program to put something there.
foreach(argument FOLDER OUTPUT PAGES)
  if(NOT DEFINED ${argument})
    message(FATAL_ERROR "EmbedPage.cmake: -D${argument}=... is missing")
  endif()
endforeach()

# What a compiler must take for one literal (C++ standard, annex B) is 64 KiB; some take 16 KiB.
set(piece_bytes_max 15000)

# inlined(RESULT FILE): the text of FILE with its parts in their places. All is quoted: scripts are full of semicolons.
function(inlined result file)
  file(READ "${FOLDER}/${file}" text)
  string(REGEX MATCHALL "/\\*{[A-Za-z0-9_]+\\.[a-z]+}\\*/" places "${text}")
  foreach(place IN LISTS places)
    string(REGEX REPLACE "^/\\*{(.+)}\\*/$" "\\1" part "${place}")
    if(NOT EXISTS "${FOLDER}/${part}")
      message(FATAL_ERROR "${FOLDER}/${file}: ${place} names no file of that folder")
    endif()
    file(READ "${FOLDER}/${part}" part_text)
    string(REPLACE "${place}" "${part_text}" text "${text}")
  endforeach()
  set(${result} "${text}" PARENT_SCOPE)
endfunction()

# literals(RESULT TEXT): TEXT as raw string literals, each of whole lines.
function(literals result text)
  set(written "")
  string(LENGTH "${text}" left)
  while(left GREATER 0)
    string(SUBSTRING "${text}" 0 ${piece_bytes_max} piece)
    if(left GREATER piece_bytes_max)
      string(FIND "${piece}" "\n" line_end REVERSE)
      if(line_end EQUAL -1)
        message(FATAL_ERROR "EmbedPage.cmake: a line is longer than ${piece_bytes_max} bytes")
      endif()
      math(EXPR length "${line_end} + 1")
      string(SUBSTRING "${text}" 0 ${length} piece)
      string(SUBSTRING "${text}" ${length} -1 text)
    else()
      set(text "")
    endif()
    string(LENGTH "${text}" left)
    string(APPEND written "\n    R\"tutti_page(${piece})tutti_page\"")
  endwhile()
  set(${result} "${written}" PARENT_SCOPE)
endfunction()

set(source "// Made by cmake/EmbedPage.cmake out of ${PAGES}.\n#include <string_view>\n\nnamespace tutti::monitor {\n")
foreach(page IN LISTS PAGES)
  if(NOT page MATCHES "^(k[A-Za-z0-9]+)=(.+)$")
    message(FATAL_ERROR "EmbedPage.cmake: PAGES: expected kName=file, found '${page}'")
  endif()
  set(name "${CMAKE_MATCH_1}")
  inlined(text "${CMAKE_MATCH_2}")
  literals(pieces "${text}")
  string(APPEND source "\nextern const std::string_view ${name};\nconst std::string_view ${name} =${pieces};\n")
endforeach()
string(APPEND source "\n}  // namespace tutti::monitor\n")
file(WRITE "${OUTPUT}" "${source}")
