// Processes that are started, killed, stopped, paused, and that end with the tool.
#include "loadgen/process.h"
#include "tests/core/http_server.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

namespace loadgen {
namespace {

using core::http_server;

using core::err;
using std::string;

string file_text(const string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// "R", "S", "T", "Z"; "" when there is no such process.
string state_of(int pid) {
  const string text = file_text("/proc/" + std::to_string(pid) + "/stat");
  const size_t at = text.rfind(") ");
  return at == string::npos ? "" : text.substr(at + 2, 1);
}

bool is_gone(int pid) {
  const string state = state_of(pid);
  return state.empty() || state == "Z" || state == "X";
}

// Asks again and again; the test's time limit is the limit.
template <class F>
void until(F is_so) {
  while (!is_so()) std::this_thread::yield();
}

class process_test : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/process_test.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    for (process* p : all_) process_free(p);
    std::filesystem::remove_all(dir_);
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
  }
  process* make(const string& text) {
    process* p = nullptr;
    string why;
    EXPECT_EQ(process_parse(text, &p, &why), err::ok) << why;
    all_.push_back(p);
    return p;
  }
  err start(process* p, const string& ready_url = "", uint32_t ready_ms = 10'000) {
    return process_start(p, log(), ready_url, ready_ms, &why_);
  }
  string log() const { return dir_ + "/log"; }
  void until_logged(const string& text) {
    until([&] { return file_text(log()).find(text) != string::npos; });
  }
  string dir_, why_;
  std::vector<process*> all_;
};

TEST_F(process_test, parse) {
  EXPECT_EQ(process_name(make("a=sleep 1")), "a");
  EXPECT_EQ(process_name(make("node-2=env A=b sleep 1")), "node-2");
  EXPECT_EQ(process_pid(all_[0]), 0);
  const string self = std::to_string(getpid());
  EXPECT_EQ(process_pid(make("me=pid:" + self)), getpid());
  for (const string& text :
       {string(""), string("a"), string("a="), string("a=  "), string("=sleep 1"),
        string("../a=sleep 1"), string("a=pid:"), string("a=pid:0"), string("a=pid:1"),
        string("a=pid:-5"), "a=pid:" + self + "x", string("a=pid:99999999999")}) {
    process* p = nullptr;
    why_.clear();
    EXPECT_EQ(process_parse(text, &p, &why_), err::invalid) << text;
    EXPECT_EQ(p, nullptr);
    EXPECT_FALSE(why_.empty());
  }
}

TEST_F(process_test, runs_with_its_output_appended_to_the_log) {
  process* p = make("a=echo hello; echo to stderr >&2");
  for (int i = 0; i < 2; ++i) {
    // exec takes the first command only
    ASSERT_EQ(start(p), err::ok) << why_;
    until([&] { return process_pid(p) == 0; });
  }
  EXPECT_EQ(file_text(log()), "hello\nhello\n");
  process* q = make("b=sh -c 'cat; echo out; echo err >&2'");  // its input is empty
  ASSERT_EQ(start(q), err::ok) << why_;
  until([&] { return process_pid(q) == 0; });
  EXPECT_EQ(file_text(log()), "hello\nhello\nout\nerr\n");
}

TEST_F(process_test, the_process_is_the_command_itself_in_a_group_of_its_own) {
  process* p = make("a=sleep 1000");
  ASSERT_EQ(start(p), err::ok);
  const int pid = process_pid(p);
  ASSERT_GT(pid, 0);
  EXPECT_EQ(getpgid(pid), pid);
  until([&] { return file_text("/proc/" + std::to_string(pid) + "/comm") == "sleep\n"; });
  EXPECT_EQ(start(p), err::conflict);
  EXPECT_EQ(process_pid(p), pid);
}

TEST_F(process_test, kill_leaves_no_zombie) {
  process* p = make("a=sleep 1000");
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(start(p), err::ok);
    const int pid = process_pid(p);
    EXPECT_EQ(process_kill(p), err::ok);
    EXPECT_EQ(process_pid(p), 0);
    EXPECT_EQ(state_of(pid), "");
  }
  EXPECT_EQ(process_kill(p), err::closed);
  EXPECT_EQ(process_stop(p, 100), err::closed);
  EXPECT_EQ(process_pause(p), err::closed);
  EXPECT_EQ(process_resume(p), err::closed);
}

TEST_F(process_test, one_that_ends_by_itself_is_reaped) {
  process* p = make("a=true");
  ASSERT_EQ(start(p), err::ok);
  until([&] { return process_pid(p) == 0; });
  ASSERT_EQ(start(p), err::ok) << why_;
}

TEST_F(process_test, stop_asks_first) {
  process* p = make("a=sleep 1000");
  ASSERT_EQ(start(p), err::ok);
  EXPECT_EQ(process_stop(p, 10'000), err::ok);
  EXPECT_EQ(process_pid(p), 0);
}

TEST_F(process_test, stop_kills_who_does_not_listen) {
  process* p = make("a=sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 1; done'");
  ASSERT_EQ(start(p), err::ok);
  until_logged("deaf");
  const int pid = process_pid(p);
  EXPECT_EQ(process_stop(p, 50), err::timeout);
  EXPECT_EQ(process_pid(p), 0);
  EXPECT_EQ(state_of(pid), "");
}

TEST_F(process_test, pause_and_resume) {
  // Without children: a shell that is just making one (vfork) shows "D" until the child goes on.
  process* p = make("a=sleep 1000");
  ASSERT_EQ(start(p), err::ok);
  const int pid = process_pid(p);
  EXPECT_EQ(process_pause(p), err::ok);
  until([&] { return state_of(pid) == "T"; });
  EXPECT_EQ(process_pid(p), pid);
  EXPECT_EQ(process_resume(p), err::ok);
  until([&] { return state_of(pid) != "T"; });
  EXPECT_EQ(process_pause(p), err::ok);
  until([&] { return state_of(pid) == "T"; });
  EXPECT_EQ(process_stop(p, 10'000), err::ok);  // a paused one hears SIGTERM only when it goes on
  ASSERT_EQ(start(p), err::ok);
  EXPECT_EQ(process_pause(p), err::ok);
  EXPECT_EQ(process_kill(p), err::ok);
}

TEST_F(process_test, its_children_end_with_it) {
  // Once by a kill of the group, once because their parent has ended by itself.
  for (const char* command :
       {"a=sh -c 'sleep 1000 & echo child $!; wait'", "a=sh -c 'sleep 1000 & echo child $!'"}) {
    process* p = make(command);
    std::filesystem::remove(log());
    ASSERT_EQ(start(p), err::ok);
    until_logged("\n");
    const int child = std::stoi(file_text(log()).substr(6));
    (void)process_kill(p);
    until([&] { return is_gone(child); });
    EXPECT_EQ(process_pid(p), 0);
  }
}

TEST_F(process_test, free_kills) {
  process* p = make("a=sleep 1000");
  ASSERT_EQ(start(p), err::ok);
  const int pid = process_pid(p);
  process_free(p);
  all_.clear();
  EXPECT_EQ(state_of(pid), "");
  process_free(nullptr);
}

TEST_F(process_test, dies_with_the_tool) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);  // without close-on-exec: open as long as one of them lives
  const pid_t tool = fork();
  if (tool == 0) {
    process* p = nullptr;
    string why;
    if (process_parse("a=sleep 1000", &p, &why) == err::ok &&
        process_start(p, log(), "", 0, &why) == err::ok)
      raise(SIGKILL);
    _exit(1);
  }
  close(ends[1]);
  char c;
  EXPECT_EQ(read(ends[0], &c, 1), 0);  // all ends are closed
  close(ends[0]);
  int status = 0;
  ASSERT_EQ(waitpid(tool, &status, 0), tool);
  EXPECT_TRUE(WIFSIGNALED(status));
}

// The parent of PR_SET_PDEATHSIG is a thread.
TEST_F(process_test, outlives_the_thread_that_started_it) {
  process* p = make("a=sleep 1000");
  std::thread([&] { EXPECT_EQ(start(p), err::ok); }).join();
  const int pid = process_pid(p);
  // A death signal would have been sent at the thread's end; the process can be paused only when it
  // lives.
  EXPECT_EQ(process_pause(p), err::ok);
  until([&] { return state_of(pid) == "T" || is_gone(pid); });
  EXPECT_EQ(state_of(pid), "T");
  EXPECT_EQ(process_pid(p), pid);
}

TEST_F(process_test, cannot_be_started) {
  process* p = make("a=sleep 1000");
  EXPECT_EQ(process_start(p, dir_ + "/no/such/dir", "", 0, &why_), err::io);
  EXPECT_NE(why_.find("no/such/dir"), string::npos);
  EXPECT_EQ(process_pid(p), 0);
}

// --- ready

TEST_F(process_test, waits_until_it_is_ready) {
  http_server server([](int n) {
    return std::vector<string>{n < 2 ? "HTTP/1.1 503 Wait\r\n\r\n" : "HTTP/1.1 200 OK\r\n\r\n"};
  });
  process* p = make("a=sleep 1000");
  EXPECT_EQ(start(p, server.url("/health")), err::ok) << why_;
  EXPECT_EQ(server.asked(), 3);
  EXPECT_NE(process_pid(p), 0);
}

TEST_F(process_test, not_ready_in_time) {
  http_server server([](int) { return std::vector<string>{"HTTP/1.1 503 Wait\r\n\r\n"}; });
  process* p = make("a=sleep 1000");
  EXPECT_EQ(start(p, server.url("/health"), 60), err::timeout);
  EXPECT_NE(why_.find("not ready within 60 ms"), string::npos) << why_;
  EXPECT_NE(process_pid(p), 0);  // it runs on
}

TEST_F(process_test, ended_before_it_was_ready) {
  http_server server([](int) { return std::vector<string>{"HTTP/1.1 503 Wait\r\n\r\n"}; });
  const struct {
    const char *command, *why;
  } table[] = {{"a=sh -c 'exit 7'", "with status 7"},
               {"a=/no/such/program", "with status 127"},
               {"a=sh -c 'kill -9 $$'", "by Killed"}};
  for (const auto& row : table) {
    process* p = make(row.command);
    EXPECT_EQ(start(p, server.url("/health"), 60'000), err::io);
    EXPECT_NE(why_.find(row.why), string::npos) << why_;
    EXPECT_EQ(process_pid(p), 0);
  }
}

TEST_F(process_test, a_wrong_address_is_told) {
  process* p = make("a=sleep 1000");
  EXPECT_EQ(start(p, "https://127.0.0.1/", 60'000), err::invalid);
  EXPECT_NE(why_.find("https://127.0.0.1/"), string::npos);
}

// --- one that is there already

TEST_F(process_test, one_that_is_there_already) {
  process* ours = make("a=sleep 1000");
  ASSERT_EQ(start(ours), err::ok);
  const int pid = process_pid(ours);
  process* p = make("b=pid:" + std::to_string(pid));
  EXPECT_EQ(process_pid(p), pid);
  EXPECT_EQ(start(p), err::denied);
  EXPECT_EQ(process_pause(p), err::ok);
  until([&] { return state_of(pid) == "T"; });
  EXPECT_EQ(process_resume(p), err::ok);
  until([&] { return state_of(pid) != "T"; });
  EXPECT_EQ(process_kill(p), err::ok);
  EXPECT_EQ(process_pid(p), 0);
  EXPECT_EQ(process_kill(p), err::closed);
  EXPECT_EQ(process_stop(p, 10), err::closed);
  until([&] { return process_pid(ours) == 0; });
  process* gone = nullptr;
  EXPECT_EQ(process_parse("c=pid:" + std::to_string(pid), &gone, &why_), err::not_found);
}

TEST_F(process_test, one_that_is_there_already_outlives_us) {
  process* ours = make("a=sleep 1000");
  ASSERT_EQ(start(ours), err::ok);
  process* p = nullptr;
  ASSERT_EQ(process_parse("b=pid:" + std::to_string(process_pid(ours)), &p, &why_), err::ok);
  process_free(p);
  EXPECT_EQ(process_pause(ours), err::ok);
  until([&] { return state_of(process_pid(ours)) == "T"; });
  process* q = make("b=pid:" + std::to_string(process_pid(ours)));
  EXPECT_EQ(process_stop(q, 10'000), err::ok);
}

}  // namespace
}  // namespace loadgen
