/* Turns the wall clock of one process, and nothing else: preloaded, it adds what a file says, in milliseconds, to
 * every answer about real time. Monotonic and boot time stay true, as they do when somebody sets a machine's clock. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *turned_ms;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("BACKSTOP_WALL_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) _exit(99);
  turned_ms = mmap(NULL, sizeof *turned_ms, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (turned_ms == MAP_FAILED) _exit(99);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  int failed = (int)syscall(SYS_clock_gettime, clock, at);
  if (failed || !turned_ms || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return failed;
  int64_t ms = *turned_ms;
  at->tv_sec += ms / 1000;
  at->tv_nsec += ms % 1000 * 1000000;
  if (at->tv_nsec >= 1000000000) at->tv_nsec -= 1000000000, at->tv_sec++;
  if (at->tv_nsec < 0) at->tv_nsec += 1000000000, at->tv_sec--;
  return 0;
}

int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return (time_t)-1;
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
