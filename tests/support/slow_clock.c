/* For LD_PRELOAD: a clock that is SLOWNESS times slower than this machine's, for the kernel of User-Mode Linux. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static long long began[2]; /* nanoseconds, by clock: CLOCK_REALTIME is 0, CLOCK_MONOTONIC is 1 */

static long long nanoseconds(const struct timespec *time) { return time->tv_sec * SECOND + time->tv_nsec; }

static struct timespec from(long long nanoseconds) {
  return (struct timespec){nanoseconds / SECOND, nanoseconds % SECOND};
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  long failed = syscall(SYS_clock_gettime, clock, time);
  if (failed || clock > CLOCK_MONOTONIC) return failed;
  if (!began[clock]) began[clock] = nanoseconds(time);
  *time = from(began[clock] + (nanoseconds(time) - began[clock]) / SLOWNESS);
  return 0;
}

int gettimeofday(struct timeval *time, void *zone) {
  struct timespec now;
  (void)zone;
  int failed = clock_gettime(CLOCK_REALTIME, &now);
  *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
  return failed;
}

int timer_settime(timer_t timer, int flags, const struct itimerspec *given, struct itimerspec *old) {
  struct itimerspec slow = {
      from(nanoseconds(&given->it_interval) * SLOWNESS),
      from(nanoseconds(&given->it_value) * SLOWNESS),
  };
  return syscall(SYS_timer_settime, (int)(long)timer, flags, &slow, old);
}
