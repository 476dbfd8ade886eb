// Makes the disk fail. Preloaded into a program, it counts calls on the files that are meant and spoils the n-th.
//
//   FAULT_FILES  part of the path that a file must have to be meant
//   FAULT_CALLS  which calls count: some of "write sync truncate rename unlink"
//   FAULT_NTH    which of them is spoiled, from 1; unset = none
//   FAULT_KIND   eio | enospc | short (half is written, the rest meets ENOSPC) | lie (success, from then on always, and
//                nothing done) | stall (a second passes first) | kill_before | kill_after (the call)
//   FAULT_ARMED  calls count from the moment that this file exists
//   FAULT_LOG    gets a line for each call that was spoiled, or for each that counted if none is to be
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum verdict { PASS, FAIL, HALF, PRETEND, DIE_AFTER };

static const char *files, *calls, *kind, *armed, *log_path;
static long nth;
static long seen;
static int full_fd = -1;

__attribute__((constructor)) static void set_up(void) {
  files = getenv("FAULT_FILES");
  calls = getenv("FAULT_CALLS");
  kind = getenv("FAULT_KIND");
  armed = getenv("FAULT_ARMED");
  log_path = getenv("FAULT_LOG");
  const char *n = getenv("FAULT_NTH");
  nth = n ? atol(n) : 0;
  if (!calls) calls = "";
  if (!kind) kind = "";
}

static void note(const char *call, const char *path, long count) {
  if (!log_path) return;
  char line[PATH_MAX + 64];
  const char *name = strrchr(path, '/');
  int length = snprintf(line, sizeof line, "%ld %s %s\n", count, call, name ? name + 1 : path);
  int fd = (int)syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  syscall(SYS_write, fd, line, (size_t)length);
  syscall(SYS_close, fd);
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static enum verdict judge(const char *call, const char *path) {
  if (!files || !strstr(path, files) || !strstr(calls, call)) return PASS;
  if (armed && access(armed, F_OK) != 0) return PASS;
  long count = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
  int lies = strcmp(kind, "lie") == 0;
  if (nth == 0) note(call, path, count);
  if (nth == 0 || count < nth || (count > nth && !lies)) return PASS;
  note(call, path, count);
  if (lies) return PRETEND;
  if (strcmp(kind, "kill_before") == 0) die();
  if (strcmp(kind, "kill_after") == 0) return DIE_AFTER;
  if (strcmp(kind, "stall") == 0) {
    struct timespec second = {1, 0};
    nanosleep(&second, NULL);
    return PASS;
  }
  if (strcmp(kind, "short") == 0 && strcmp(call, "write") == 0) return HALF;
  errno = strcmp(kind, "eio") == 0 ? EIO : ENOSPC;
  return FAIL;
}

static enum verdict judge_fd(const char *call, int fd) {
  char link[32], path[PATH_MAX];
  int before = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = before;
  if (length < 0) return PASS;
  path[length] = 0;
  return judge(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define PASSED(verdict, type, real) \
  if ((verdict) == FAIL) return -1; \
  if ((verdict) == PRETEND) return 0; \
  type result = real; \
  if ((verdict) == DIE_AFTER) die(); \
  return result

static enum verdict judge_write(int fd, size_t *count) {
  if (fd == full_fd) {
    full_fd = -1;
    errno = ENOSPC;
    return FAIL;
  }
  enum verdict verdict = judge_fd("write", fd);
  if (verdict == HALF) {
    full_fd = fd;
    *count = *count > 1 ? *count / 2 : *count;
  }
  return verdict;
}

ssize_t write(int fd, const void *from, size_t count) {
  enum verdict verdict = judge_write(fd, &count);
  if (verdict == PRETEND) return (ssize_t)count;
  PASSED(verdict, ssize_t, REAL(write)(fd, from, count));
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t at) {
  enum verdict verdict = judge_write(fd, &count);
  if (verdict == PRETEND) return (ssize_t)count;
  PASSED(verdict, ssize_t, REAL(pwrite)(fd, from, count, at));
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
  enum verdict verdict = judge_write(fd, &count);
  if (verdict == PRETEND) return (ssize_t)count;
  PASSED(verdict, ssize_t, REAL(pwrite64)(fd, from, count, at));
}

int fsync(int fd) {
  enum verdict verdict = judge_fd("sync", fd);
  PASSED(verdict, int, REAL(fsync)(fd));
}

int fdatasync(int fd) {
  enum verdict verdict = judge_fd("sync", fd);
  PASSED(verdict, int, REAL(fdatasync)(fd));
}

int ftruncate(int fd, off_t length) {
  enum verdict verdict = judge_fd("truncate", fd);
  PASSED(verdict, int, REAL(ftruncate)(fd, length));
}

int ftruncate64(int fd, off64_t length) {
  enum verdict verdict = judge_fd("truncate", fd);
  PASSED(verdict, int, REAL(ftruncate64)(fd, length));
}

int rename(const char *from, const char *to) {
  enum verdict verdict = judge("rename", to);
  PASSED(verdict, int, REAL(rename)(from, to));
}

int unlink(const char *path) {
  enum verdict verdict = judge("unlink", path);
  PASSED(verdict, int, REAL(unlink)(path));
}
