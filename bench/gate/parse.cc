// What does it cost to parse a publish command of 128 bytes of data? Left out: frame and UTF-8.
#include <cstring>
#include <string>

#include "driver.h"
#include "proto/command.h"

void run(uint64_t times) {
  const std::string line = "{\"id\":7,\"publish\":{\"channel\":\"general\",\"data\":{\"text\":\"" +
                           std::string(128, 'x') + "\"}}}";
  std::string room(line.size() + 64, '\0');
  proto::command_parser* p = proto::command_parser_new();
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < times; ++i) {
    std::memcpy(room.data(), line.data(), line.size());
    proto::command c;
    must(proto::command_parse(p, room.data(), static_cast<uint32_t>(line.size()), &c) ==
             core::err::ok,
         "a publish is not parsed");
    bytes += c.data.size();
  }
  must(bytes == times * 139, "the data is not what was sent");
  proto::command_parser_free(p);
}
