/* A library that is loaded into pspnetd before the C library and makes one of its threads panic: the thread that NO_CLOCK_IN
 * names is refused the time, once, as soon as the file that NO_CLOCK_WHEN names is there. Rust's standard library panics then.
 * Built and loaded by tests/stop.rs, never shipped. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_flag refused = ATOMIC_FLAG_INIT;

static int is_meant(void) {
  const char *thread = getenv("NO_CLOCK_IN"), *when = getenv("NO_CLOCK_WHEN");
  char name[16] = "";
  if (!thread || !when || prctl(PR_GET_NAME, name) != 0 || strcmp(name, thread) != 0) return 0;
  return access(when, F_OK) == 0 && !atomic_flag_test_and_set(&refused);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int before = errno;
  /* The log's times are of another clock, so that the panic can be told of. */
  if (clock == CLOCK_MONOTONIC && is_meant()) {
    errno = EINVAL;
    return -1;
  }
  errno = before;
  return (int)syscall(SYS_clock_gettime, clock, time);
}
