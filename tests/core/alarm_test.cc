// Alarms: never early, set again, replaced, closed.
#include "core/alarm.h"

#include <dirent.h>

#include <memory>
#include <vector>

#include "loop_world.h"

namespace core {
namespace {

// An alarm whose firing is a promise or a function on the loop's thread.
struct bell : alarm {
  std::function<void(bell*)> ring;
  std::promise<uint64_t> rung;
  std::promise<void> gone;
  uint64_t set_for_us = 0;
  int times = 0;
};

uint64_t now_us() {
  return system_clock()->mono_us();
}

void on_fire(alarm* a) noexcept {
  auto* b = static_cast<bell*>(a);
  ++b->times;
  EXPECT_GE(now_us(), b->set_for_us);
  if (b->ring) {
    b->ring(b);
  } else {
    b->rung.set_value(now_us());
  }
}

int descriptors() {
  int n = 0;
  DIR* d = opendir("/proc/self/fd");
  while (readdir(d) != nullptr) ++n;
  closedir(d);
  return n;
}

class alarm_test : public testing::Test {
 protected:
  void open(bell* b) {
    w_.on(0, [&](loop* l) { ASSERT_EQ(alarm_open(b, l, on_fire), err::ok); });
  }
  void set(bell* b, uint64_t at_us) {
    w_.on(0, [&](loop*) {
      b->set_for_us = at_us;
      alarm_set(b, at_us);
    });
  }
  void close(bell* b) {
    w_.on(0, [&](loop*) {
      alarm_close(b, [](alarm* a) noexcept { static_cast<bell*>(a)->gone.set_value(); });
    });
    b->gone.get_future().wait();
  }
  loop_world w_{1};
};

TEST_F(alarm_test, fires_once_and_not_before_its_time) {
  bell b;
  open(&b);
  const uint64_t at = now_us() + 20'345;
  set(&b, at);
  EXPECT_GE(b.rung.get_future().get(), at);
  close(&b);  // a second firing would set the promise again and end the program
  EXPECT_EQ(b.times, 1);
}

TEST_F(alarm_test, a_time_that_has_passed_fires_at_once) {
  for (const uint64_t at : {uint64_t{0}, uint64_t{1}, now_us()}) {
    bell b;
    open(&b);
    set(&b, at);
    b.rung.get_future().wait();
    close(&b);
    EXPECT_EQ(b.times, 1);
  }
}

TEST_F(alarm_test, may_be_set_again_from_its_firing) {
  bell b;
  std::vector<uint64_t> at;
  std::promise<void> done;
  b.ring = [&](bell* self) {
    at.push_back(now_us());
    if (at.size() == 20) {
      done.set_value();
      return;
    }
    self->set_for_us = at.back() + 250;
    alarm_set(self, self->set_for_us);
  };
  open(&b);
  set(&b, now_us());
  done.get_future().wait();
  close(&b);
  ASSERT_EQ(at.size(), 20u);
  for (size_t i = 1; i < at.size(); ++i) EXPECT_GE(at[i], at[i - 1] + 250);
}

TEST_F(alarm_test, a_later_setting_replaces_the_earlier) {
  bell b, witness;
  open(&b);
  open(&witness);
  const uint64_t soon = now_us() + 2000;
  set(&b, soon);
  set(&b, UINT64_MAX);  // never
  set(&witness, soon + 1000);
  witness.rung.get_future().wait();  // fired at its time, so that b's first time has passed
  w_.on(0, [&](loop*) { EXPECT_EQ(b.times, 0); });
  set(&b, now_us());
  b.rung.get_future().wait();
  close(&b);
  close(&witness);
}

TEST_F(alarm_test, replaced_in_the_iteration_in_which_it_is_due) {
  bell b;
  open(&b);
  w_.on(0, [&](loop*) {
    alarm_set(&b, 1);  // due, and the loop has not looked yet
    alarm_set(&b, UINT64_MAX);
  });
  bell witness;
  open(&witness);
  set(&witness, now_us());
  witness.rung.get_future().wait();
  w_.on(0, [&](loop*) { EXPECT_EQ(b.times, 0); });
  close(&witness);
  close(&b);
}

TEST_F(alarm_test, several_fire_each_at_its_time) {
  bell bells[5];
  for (bell& b : bells) open(&b);
  const uint64_t base = now_us() + 5000;
  for (int i = 4; i >= 0; --i) set(&bells[i], base + static_cast<uint64_t>(i) * 3000);
  for (bell& b : bells) b.rung.get_future().wait();  // on_fire() compares each with its time
  for (bell& b : bells) close(&b);
  for (const bell& b : bells) EXPECT_EQ(b.times, 1);
}

TEST_F(alarm_test, close_is_idempotent_stops_what_is_due_and_gives_the_descriptor_back) {
  w_.on(0, [](loop*) {});
  const int before = descriptors();
  for (int i = 0; i < 20; ++i) {
    bell b;
    open(&b);
    w_.on(0, [&](loop*) {
      alarm_set(&b, 1);
      alarm_close(&b, [](alarm* a) noexcept { static_cast<bell*>(a)->gone.set_value(); });
      alarm_close(&b, [](alarm*) noexcept { FAIL(); });
      alarm_set(&b, 1);  // harmless until it is gone
    });
    b.gone.get_future().wait();
    EXPECT_EQ(b.times, 0);
  }
  EXPECT_EQ(descriptors(), before);
}

TEST_F(alarm_test, may_be_closed_from_its_firing) {
  bell b;
  b.ring = [](bell* self) {
    alarm_close(self, [](alarm* a) noexcept { static_cast<bell*>(a)->gone.set_value(); });
  };
  open(&b);
  set(&b, now_us());
  b.gone.get_future().wait();
  EXPECT_EQ(b.times, 1);
}

}  // namespace
}  // namespace core
