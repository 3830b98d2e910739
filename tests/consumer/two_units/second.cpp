#include <creditlib/creditlib.hpp>

std::string second_error() {
  try {
    creditlib::detail::fail("one error, thrown ", "here and there");
  } catch (const creditlib::Error& error) {
    return error.what();
  }
  return "";
}
