/* A delegate plug-in that takes no operator, and tries to act on the terminal from which pspnetd was started. What comes of each
 * attempt goes to standard error. The option `terminal` is that terminal's path. Built by tests/support/plugins.rs. */
#define _GNU_SOURCE
#include "plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

static void tell(const char *what, int outcome) {
  fprintf(stderr, "WARNING: typist: %s: %s\n", what, outcome < 0 ? strerrorname_np(errno) : "done");
}

static int type(int terminal, const char *text) {
  int typed = 0;
  for (; typed == 0 && *text != '\0'; text++) typed = ioctl(terminal, TIOCSTI, text);
  return typed;
}

static void on_create(size_t count, char **keys, char **values) {
  const char *path = option("terminal", count, keys, values);
  int own = open("/dev/tty", O_RDONLY | O_NONBLOCK);
  tell("open /dev/tty", own);
  if (own >= 0) tell("type there", type(own, "touch escaped\n"));
  // Where a kernel has no Landlock this opens, and the requests are refused one by one.
  int named = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  tell("open the terminal to read", named);
  tell("type there", type(named, "touch escaped\n"));
  tell("make it the controlling terminal", ioctl(named, TIOCSCTTY, 1));
  tell("open the terminal to write", open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY));
}
