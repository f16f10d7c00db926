/* Preloaded into the program: writes down, in the order of the calls, which file was synced and which name a file took. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void note(const char* path, const char* what) {
  const char* to = getenv("ORDER_OF_CALLS");
  int file = to ? open(to, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
  if (file < 0) return;
  dprintf(file, "%s %s\n", path, what);
  close(file);
}

static int synced(const char* name, int file) {
  char link[64], path[4096] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length > 0 ? length : 0] = 0;
  int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  int outcome = next(file);
  if (outcome == 0) note(path, "synced");
  return outcome;
}

int fsync(int file) { return synced("fsync", file); }
int fdatasync(int file) { return synced("fdatasync", file); }

int rename(const char* from, const char* to) {
  int (*next)(const char*, const char*) = (int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename");
  int outcome = next(from, to);
  if (outcome == 0) note(to, "renamed");
  return outcome;
}
