/*
** clock.c - a wall clock that jumps, for LD_PRELOAD: whoever asks what time it is hears
** something between 1990 and 2089, another one each time.  The monotonic clock is left alone,
** as the kernel leaves it.
*/
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t jump(void) {
  static _Atomic unsigned turn;
  return 631152000 + (time_t)(turn++ * 2654435761u % 3153600000u);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int rc = (int)syscall(SYS_clock_gettime, clock, now);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec = jump();
  return rc;
}

int gettimeofday(struct timeval *now, void *zone) {
  (void)zone;
  now->tv_sec = jump();
  now->tv_usec = 0;
  return 0;
}

time_t time(time_t *to) {
  time_t now = jump();
  if (to != NULL) *to = now;
  return now;
}
