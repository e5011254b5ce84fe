// SPDX-License-Identifier: Apache-2.0
// The pages, each whole in itself. The build makes them of the files in page/ (cmake/EmbedPage.cmake).
#pragma once

#include <string_view>

namespace tutti::monitor {

extern const std::string_view kPage;    ///< of a run that goes on
extern const std::string_view kReport;  ///< of runs that are over; holds the place /*{runs}*/

}  // namespace tutti::monitor
