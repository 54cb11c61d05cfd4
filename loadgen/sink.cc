// The sink's process: made, asked for its port, ended.
#include "loadgen/sink.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace loadgen {

struct sink {
  pid_t pid = 0;
  int life_fd = -1;  // the child ends when this end is closed
};

namespace {

// Everything until the writer's end; an answer is short.
std::string read_all(int fd) {
  std::string text;
  char part[256];
  for (;;) {
    const ssize_t n = read(fd, part, sizeof part);
    if (n > 0) {
      text.append(part, static_cast<size_t>(n));
    } else if (n == 0 || errno != EINTR) {
      return text;
    }
  }
}

core::err take_answer(const std::string& answer, uint16_t* port, std::string* why) {
  if (answer.size() == 1 + sizeof *port && answer[0] == 1) {
    memcpy(port, answer.data() + 1, sizeof *port);
    return core::err::ok;
  }
  *why = "the sink did not start" + (answer.size() > 1 ? ": " + answer.substr(1) : std::string());
  return core::err::io;
}

}  // namespace

core::err sink_start(sink** out, uint16_t* port, std::string* why) noexcept {
  int answer[2], life[2];
  if (pipe2(answer, O_CLOEXEC) != 0) {
    *why = std::string("the sink's pipe cannot be made: ") + strerror(errno);
    return core::err::io;
  }
  if (pipe2(life, O_CLOEXEC) != 0) {
    *why = std::string("the sink's pipe cannot be made: ") + strerror(errno);
    close(answer[0]);
    close(answer[1]);
    return core::err::io;
  }
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(answer[0]);
    close(life[1]);
    sink_serve(answer[1], life[0]);
    _exit(0);
  }
  close(answer[1]);
  close(life[0]);
  core::err rc = core::err::io;
  if (pid < 0) {
    *why = std::string("the sink's process cannot be made: ") + strerror(errno);
  } else {
    rc = take_answer(read_all(answer[0]), port, why);
  }
  close(answer[0]);
  auto* s = new sink{pid, life[1]};
  if (rc != core::err::ok) {
    sink_stop(s);
    return rc;
  }
  *out = s;
  return rc;
}

int sink_pid(const sink* s) noexcept {
  return s->pid;
}

void sink_stop(sink* s) noexcept {
  if (s == nullptr) return;
  close(s->life_fd);
  if (s->pid > 0) {
    kill(s->pid, SIGKILL);  // it holds nothing that wants care
    while (waitpid(s->pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  delete s;
}

}  // namespace loadgen
