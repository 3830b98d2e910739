// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

namespace bench {

/// Answers one line for each line of standard input, for programs that let several processes take turns:
///
///   N          what is timed as "step", N times: their times in ms
///   NAME N     the same of what is timed under another name
///   NAME       what is told under that name
///   q          (or the end of the input) ends it
///
/// `timed` return seconds. Anything else gets a line that begins with "error:".
inline void serve(const std::map<std::string, std::function<double()>>& timed,
                  const std::map<std::string, std::function<std::string()>>& told) {
  for (std::string line; std::getline(std::cin, line) && line != "q";) {
    std::istringstream words(line);
    std::string name = "step", answer;
    long times = 0;
    if (!(words >> times)) {
      words.clear();
      words.seekg(0);
      words >> name >> times;
    }
    if (times > 0 && timed.contains(name)) {
      for (; times > 0; --times) answer += (answer.empty() ? "" : " ") + std::to_string(1e3 * timed.at(name)());
    } else if (told.contains(name)) {
      answer = told.at(name)();
    } else {
      answer = "error: " + line;
    }
    std::cout << answer << std::endl;
  }
}

}  // namespace bench
