/* A library that is loaded before TensorFlow Lite into a worker process and misbehaves in the middle of an inference: what a
 * device's library can do, without a device. The word UNRULY says what to do, a number behind it at which inference, from 1
 * (one of them happens before a worker is ready). Built and loaded by tests/support/unruly.rs, never shipped. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/kd.h>
#include <linux/sockios.h>
#include <linux/vt.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void tell(const char *what, int outcome) {
  fprintf(stderr, "tried %s: %s\n", what, outcome < 0 ? strerrorname_np(errno) : "done");
}

static void *on_a_thread(void *unused) {
  (void)unused;
  tell("a socket on a thread", socket(AF_INET, SOCK_DGRAM, 0));
  return NULL;
}

/* Everything that a worker may not do, and some of what it may. */
static void try_everything(void) {
  char *none[] = {NULL};
  tell("execve", execve("/bin/true", none, none));
  tell("fork", fork());
  errno = posix_spawn(NULL, "/bin/true", NULL, NULL, none, none);
  tell("posix_spawn", errno != 0 ? -1 : 0);
  tell("socket inet", socket(AF_INET, SOCK_STREAM, 0));
  tell("socket inet6", socket(AF_INET6, SOCK_DGRAM, 0));
  tell("socket packet", socket(AF_PACKET, SOCK_RAW, 0));
  tell("socket netlink", socket(AF_NETLINK, SOCK_RAW, 0));
  tell("socket unix", socket(AF_UNIX, SOCK_STREAM, 0));
  tell("write a file", open("/tmp/pspnetd-unruly", O_WRONLY | O_CREAT, 0600));
  tell("write /proc", open("/proc/self/oom_score_adj", O_WRONLY));
  tell("write /dev/null", open("/dev/null", O_RDWR));
  tell("fopen /dev/null", fopen("/dev/null", "w") ? 0 : -1);
  tell("read a file", open("/proc/cpuinfo", O_RDONLY));
  tell("signal the parent", kill(getppid(), 0));
  tell("signal its group", kill(0, 0));
  tell("signal itself", kill(getpid(), 0));
  tell("ptrace", (int)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
  tell("leave the group", setsid());
  char memory[64];
  snprintf(memory, sizeof memory, "/proc/%d/mem", getppid());
  tell("read the parent's memory", open(memory, O_RDONLY));
  // No terminal is needed to see who refuses: the kernel itself answers ENOTTY.
  char letter = '#', paste = 3;
  int discipline = 0;
  tell("type (TIOCSTI)", ioctl(0, TIOCSTI, &letter));
  tell("type by a longer number", (int)syscall(SYS_ioctl, 0, 0x100000000UL | TIOCSTI, &letter));
  tell("paste (TIOCLINUX)", ioctl(0, TIOCLINUX, &paste));
  tell("take a terminal (TIOCSCTTY)", ioctl(0, TIOCSCTTY, 1));
  tell("take the console (TIOCCONS)", ioctl(0, TIOCCONS));
  tell("load a line discipline (TIOCSETD)", ioctl(0, TIOCSETD, &discipline));
  tell("write to a terminal", open("/dev/ptmx", O_RDWR | O_NOCTTY));
  tell("read a terminal", open("/dev/tty", O_RDONLY));
  tell("set a key (KDSKBENT)", ioctl(0, KDSKBENT, NULL));
  tell("switch the console (VT_ACTIVATE)", ioctl(0, VT_ACTIVATE, 1));
  tell("have another process signalled (F_SETOWN)", fcntl(0, F_SETOWN, getppid()));
  tell("have it killed (F_SETSIG)", fcntl(0, F_SETSIG, SIGKILL));
  struct f_owner_ex owner = {F_OWNER_PID, getppid()};
  tell("have another process signalled (F_SETOWN_EX)", fcntl(0, F_SETOWN_EX, &owner));
  int parent = getppid();
  tell("have another process signalled (FIOSETOWN)", ioctl(0, FIOSETOWN, &parent));
  tell("have another process signalled (SIOCSPGRP)", ioctl(0, SIOCSPGRP, &parent));
  tell("outlive the parent", prctl(PR_SET_PDEATHSIG, 0));
#ifdef __x86_64__
  tell("a call by its x32 number", (int)syscall(0x40000000 | SYS_getpid));
#else
  errno = EPERM;
  tell("a call by its x32 number", -1);
#endif
  pthread_t thread;
  if (pthread_create(&thread, NULL, on_a_thread, NULL) == 0) pthread_join(thread, NULL);
  tell("a thread", 0);
}

static void misbehave(const char *what) {
  if (strcmp(what, "abort") == 0) {
    fprintf(stderr, "F 12345 usb/usb_driver.cc:857] transfer on tag 1 failed. Abort. [LibUsbDataOutCallback]\n");
    abort();
  }
  if (strcmp(what, "segfault") == 0) {
    // Not raise(): Rust's own handler takes the first one away, and lets the same instruction fault again.
    int *volatile nowhere = NULL;
    *nowhere = 1;
  }
  if (strcmp(what, "exit") == 0) _exit(7);
  if (strcmp(what, "hang") == 0) for (;;) pause();
  if (strcmp(what, "flood") == 0) for (int line = 0; line < 100000; line++) fprintf(stderr, "line %d\n", line);
  if (strcmp(what, "levels") == 0) fprintf(stderr, "INFO: i\nWARNING: w\nE0101 a.cc:1] e\nplain \033[31m\n");
  if (strcmp(what, "print") == 0) { printf("on standard output\n"); fflush(stdout); }
  if (strcmp(what, "everything") == 0) try_everything();
}

int TfLiteInterpreterInvoke(void *interpreter) {
  static int count = 0;
  int (*invoke)(void *) = (int (*)(void *))dlsym(RTLD_NEXT, "TfLiteInterpreterInvoke");
  char what[32] = "";
  int at = 0;
  const char *order = getenv("UNRULY");
  if (order != NULL && sscanf(order, "%31s %d", what, &at) == 2 && ++count == at) {
    misbehave(what);
    if (strcmp(what, "error") == 0) return 1;
  }
  return invoke(interpreter);
}
