// SPDX-License-Identifier: Apache-2.0
// Boost.Asio is used as headers only: this file holds those of its definitions that are no templates
// (BOOST_ASIO_SEPARATE_COMPILATION), so that no other source compiles them.
#include <boost/asio/impl/src.hpp>
