/* A library that is loaded before TensorFlow Lite into a worker process and misbehaves in the middle of an inference: what a
 * device's library can do, without a device. The word UNRULY says what to do, a number behind it at which inference, from 1
 * (one of them happens before a worker is ready). Built and loaded by tests/support/unruly.rs, never shipped. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kd.h>
#include <linux/sockios.h>
#include <linux/vt.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int outcome_of(int result) { return result < 0 ? -1 : 0; }

/* Work of a thread: what becomes of its errno. */
static void *a_socket(void *error) {
  if (socket(AF_INET, SOCK_DGRAM, 0) < 0) *(int *)error = errno;
  return NULL;
}

static int on_a_thread(void *(*work)(void *)) {
  pthread_t thread;
  int error = 0;
  errno = pthread_create(&thread, NULL, work, &error);
  if (errno != 0) return -1;
  pthread_join(thread, NULL);
  errno = error;
  return error == 0 ? 0 : -1;
}

static void *nothing(void *error) { return error; }

static int of_parent(const char *format, int flags) {
  char path[64];
  snprintf(path, sizeof path, format, getppid());
  return open(path, flags);
}

static int list(const char *path) {
  DIR *folder = opendir(path);
  return folder != NULL && readdir(folder) != NULL ? 0 : -1;
}

static int map(int protection) {
  return mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static int make_executable(void) {
  void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static int connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int end = socket(AF_UNIX, SOCK_STREAM, 0);
  return end < 0 ? -1 : connect(end, (struct sockaddr *)&address, sizeof address);
}

static int own_signal(int number) {
  struct sigaction action = {.sa_handler = SIG_IGN};
  return sigaction(number, &action, NULL);
}

/* Does what `name` says; -1 and errno where that was refused. No terminal is needed to see who refuses a request to one: the
 * kernel itself answers ENOTTY. */
static int attempt(const char *name) {
#define TRY(word, result) if (strcmp(name, word) == 0) return outcome_of((int)(result))
  char *none[] = {NULL};
  char letter = '#', paste = 3;
  int discipline = 0, parent = getppid();
  cpu_set_t processors;
  CPU_ZERO(&processors);
  CPU_SET(0, &processors);
  struct f_owner_ex owner = {F_OWNER_PID, parent};
  struct sched_param calm = {0}, urgent = {.sched_priority = 1};
  struct ifconf interfaces = {0};
  struct msghdr empty = {0};
  TRY("read-processor", open("/proc/cpuinfo", O_RDONLY));
  TRY("use-null", open("/dev/null", O_RDONLY));
  TRY("signal-itself", kill(getpid(), 0));
  TRY("thread", on_a_thread(nothing));
  TRY("map", map(PROT_READ | PROT_WRITE));
  TRY("own-processors", sched_setaffinity(0, sizeof processors, &processors));

  TRY("execve", execve("/bin/true", none, none));
  TRY("execveat", syscall(SYS_execveat, AT_FDCWD, "/bin/true", none, none, 0));
  TRY("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
  TRY("ptrace", ptrace(PTRACE_ATTACH, parent, NULL, NULL));
  TRY("read-memory", syscall(SYS_process_vm_readv, parent, NULL, 0, NULL, 0, 0));
  TRY("pidfd", syscall(SYS_pidfd_open, parent, 0));
  TRY("reap-memory", syscall(SYS_process_mrelease, -1, 0));
  TRY("setsid", setsid());
  TRY("unshare", unshare(CLONE_NEWUSER));
  TRY("mount", mount("none", "/mnt", "tmpfs", 0, NULL));
  TRY("chroot", chroot("/"));
  TRY("setuid", setuid(0));
  TRY("unlink", unlink("/tmp/pspnetd-unruly"));
  TRY("mkdir", mkdir("/tmp/pspnetd-unruly", 0700));
  TRY("rename", rename("/tmp/pspnetd-unruly", "/tmp/pspnetd-other"));
  TRY("chmod", chmod("/tmp", 0777));
  TRY("shmget", shmget(0x1234, 4096, IPC_CREAT | 0600));
  TRY("msgget", msgget(0x1234, IPC_CREAT | 0600));
  TRY("mq_open", syscall(SYS_mq_open, "pspnetd", O_RDWR, 0600, NULL));
  TRY("io_uring", syscall(SYS_io_uring_setup, 1, NULL));
  TRY("bpf", syscall(SYS_bpf, 0, NULL, 0));
  TRY("keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
  TRY("syslog", syscall(SYS_syslog, 3, NULL, 0));
  TRY("clock", syscall(SYS_clock_settime, 0, NULL));
  TRY("perf", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
  TRY("userfaultfd", syscall(SYS_userfaultfd, 0));
  TRY("personality", syscall(SYS_personality, 0xffffffffUL));
  TRY("seccomp", syscall(SYS_seccomp, 0, 0, NULL));
#ifdef __x86_64__
  TRY("x32", syscall(0x40000000 | SYS_getpid));
#endif

  TRY("socket-inet", socket(AF_INET, SOCK_STREAM, 0));
  TRY("socket-inet6", socket(AF_INET6, SOCK_DGRAM, 0));
  TRY("socket-packet", socket(AF_PACKET, SOCK_RAW, 0));
  TRY("socket-vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  TRY("socket-unix", connect_to("/run/pspnetd/http.sock"));
  TRY("socket-thread", on_a_thread(a_socket));
  TRY("signal-parent", kill(parent, 0));
  TRY("signal-group", kill(0, 0));
  TRY("parents-processors", sched_setaffinity(parent, sizeof processors, &processors));
  TRY("parents-policy", sched_setscheduler(parent, SCHED_BATCH, &calm));
  TRY("parents-priority", setpriority(PRIO_PROCESS, parent, 5));
  TRY("users-priority", setpriority(PRIO_USER, 0, 5));
  TRY("parents-limits", syscall(SYS_prlimit64, parent, 7, NULL, NULL));
  TRY("map-executable", map(PROT_READ | PROT_WRITE | PROT_EXEC));
  TRY("map-shared", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
  TRY("map-growing",
      mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0) == MAP_FAILED ? -1 : 0);
  TRY("own-policy", sched_setscheduler(0, SCHED_FIFO, &urgent));
  TRY("own-priority", setpriority(PRIO_PROCESS, 0, -5));
  TRY("make-a-nameless-file", open("/tmp", O_WRONLY | O_TMPFILE, 0600));
  TRY("interfaces", ioctl(3, SIOCGIFCONF, &interfaces));
  TRY("send-a-descriptor", sendmsg(3, &empty, MSG_DONTWAIT));
  TRY("map-code", map(PROT_READ | PROT_EXEC));
  TRY("make-executable", make_executable());
  TRY("make-a-file", open("/tmp/pspnetd-unruly", O_WRONLY | O_CREAT, 0600));
  TRY("type", ioctl(0, TIOCSTI, &letter));
  TRY("type-long", syscall(SYS_ioctl, 0, 0x100000000UL | TIOCSTI, &letter));
  TRY("paste", ioctl(0, TIOCLINUX, &paste));
  TRY("take-terminal", ioctl(0, TIOCSCTTY, 1));
  TRY("take-console", ioctl(0, TIOCCONS));
  TRY("discipline", ioctl(0, TIOCSETD, &discipline));
  TRY("set-key", ioctl(0, KDSKBENT, NULL));
  TRY("switch-console", ioctl(0, VT_ACTIVATE, 1));
  TRY("owner", fcntl(0, F_SETOWN, parent));
  TRY("owners-signal", fcntl(0, F_SETSIG, SIGKILL));
  TRY("owner-ex", fcntl(0, F_SETOWN_EX, &owner));
  TRY("owner-ioctl", ioctl(0, FIOSETOWN, &parent));
  TRY("group-ioctl", ioctl(0, SIOCSPGRP, &parent));
  TRY("outlive", prctl(PR_SET_PDEATHSIG, 0));
  TRY("own-refusals", own_signal(SIGSYS));

  TRY("write-null", open("/dev/null", O_WRONLY));
  TRY("write-and-read-null", open("/dev/null", O_RDWR));
  TRY("parents-memory-to-write", of_parent("/proc/%d/mem", O_RDWR));

  TRY("write-proc", open("/proc/self/oom_score_adj", O_WRONLY));
  TRY("parents-memory", of_parent("/proc/%d/mem", O_RDONLY));
  TRY("parents-environment", of_parent("/proc/%d/environ", O_RDONLY));
  TRY("list-processes", list("/proc"));
  TRY("list-root", list("/"));
  TRY("read-passwords", open("/etc/passwd", O_RDONLY));
  TRY("read-shadow", open("/etc/shadow", O_RDONLY));
  TRY("read-configuration", open("/etc/hostname", O_RDONLY));
  TRY("read-a-program", open("/bin/sh", O_RDONLY));
  TRY("kernel-log", open("/dev/kmsg", O_WRONLY));
  TRY("pseudo-terminal", open("/dev/ptmx", O_RDWR | O_NOCTTY));
  TRY("terminal", open("/dev/tty", O_RDONLY));
  TRY("shared-memory", list("/dev/shm"));
#undef TRY
  errno = EINVAL;
  return -1;
}

/* What is refused by an error in every worker: all of it can be tried in one. */
static const char *const refused[] = {
    "fork", "socket-inet", "socket-inet6", "socket-packet", "socket-vsock", "socket-unix", "socket-thread",
    "signal-parent", "signal-group", "parents-processors", "parents-policy", "parents-priority", "users-priority",
    "parents-limits", "parents-memory-to-write", "map-executable", "make-a-file", "type", "type-long", "paste", "take-terminal", "take-console",
    "discipline", "set-key", "switch-console", "owner", "owners-signal", "owner-ex", "owner-ioctl", "group-ioctl",
    "outlive", "own-refusals", "write-proc", "parents-memory", "parents-environment", "list-processes", "list-root",
    "read-passwords", "read-shadow", "read-configuration", "read-a-program", "kernel-log", "pseudo-terminal", "terminal",
    "shared-memory",
};

static void tell(const char *name) {
  int outcome = attempt(name);
  fprintf(stderr, "tried %s: %s\n", name, outcome < 0 ? strerrorname_np(errno) : "done");
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
  if (strcmp(what, "try-refused") == 0) {
    for (size_t each = 0; each < sizeof refused / sizeof *refused; each++) tell(refused[each]);
    tell("thread");
  } else if (strncmp(what, "try-", 4) == 0) {
    tell(what + 4);
  }
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
