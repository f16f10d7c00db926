/* A delegate plug-in that takes no operator. It answers rightly at first; once the option `until` names a file that is there, a
 * thread of it changes the output tensor that its worker shares with pspnetd, all the time. Built by tests/support/plugins.rs. */
#define _GNU_SOURCE
#include "plugin.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static char until[4096];

/* Every mapping of a shared output, from its line in /proc/self/maps. */
static int find(char *starts[], char *ends[], int most) {
  int found = 0;
  char line[512];
  FILE *maps = fopen("/proc/self/maps", "r");
  while (maps != NULL && found < most && fgets(line, sizeof line, maps) != NULL) {
    if (strstr(line, "memfd:pspnetd-output") == NULL) continue;
    if (sscanf(line, "%p-%p", (void **)&starts[found], (void **)&ends[found]) == 2) found++;
  }
  if (maps != NULL) fclose(maps);
  return found;
}

static void *scribble(void *unused) {
  (void)unused;
  char *starts[16], *ends[16];
  while (access(until, F_OK) != 0) usleep(10000);
  int count = find(starts, ends, 16);
  fprintf(stderr, "WARNING: scribbler: writing over %d outputs\n", count);
  for (int value = 0x7f;; value = 0xff - value) {
    for (int at = 0; at < count; at++) memset(starts[at], value, (size_t)(ends[at] - starts[at]));
    __asm__ volatile("" ::: "memory");
  }
  return NULL;
}

static void on_create(size_t count, char **keys, char **values) {
  pthread_t thread;
  snprintf(until, sizeof until, "%s", option("until", count, keys, values));
  pthread_create(&thread, NULL, scribble, NULL);
}
