// docs/ERRORS.md, printed from the tables of codes.
#pragma once

#include <string>

namespace server {

std::string errors_markdown();

}  // namespace server
