#include <creditlib/creditlib.hpp>

std::string second_error();

int main() {
  try {
    creditlib::detail::fail("one error, thrown here and there");
  } catch (const creditlib::Error& error) {
    return error.what() == second_error() ? 0 : 1;
  }
  return 1;
}
