// SPDX-License-Identifier: Apache-2.0
// Boost.JSON is used as headers only: this file holds its definitions, and every other includes <boost/json.hpp>.
#include <boost/json/src.hpp>
