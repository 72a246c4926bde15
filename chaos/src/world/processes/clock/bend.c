/*
 * Bends the clocks of one process. Loaded before libc, it answers clock_gettime as a machine would whose clocks go
 * faster or slower than this one's, that was suspended for some time, and whose wall clock somebody set.
 *
 * What a process cannot see is not bent: how long it waits for a file or a futex. At the rates of real clocks that is
 * less than what waiting costs anyway. Waits until a moment are bent, or they would end years too late.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

/* The file of this machine's clocks. Only the wall clock changes while the process runs. */
struct bend {
    int64_t anchor_ns;    /* the moment since boot at which the rate began */
    int64_t suspended_ns; /* boot time is so far ahead */
    int64_t rate_ppm;
    volatile int64_t wall_ns;
};

static const struct bend *bend;
static int (*wait_by_clock)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("QUORUMFENCE_CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(0, sizeof(struct bend), PROT_READ, MAP_SHARED, file, 0);
    wait_by_clock = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    /* A clock that is straight when a court believes it bent makes a false witness. */
    if (map == MAP_FAILED || !wait_by_clock)
        abort();
    close(file);
    bend = map;
}

static int64_t told(clockid_t id) {
    struct timespec at;
    if (syscall(SYS_clock_gettime, id, &at))
        abort();
    return at.tv_sec * SECOND + at.tv_nsec;
}

/* How far the clocks have run away from this machine's. */
static int64_t drift(int64_t since_boot) {
    return (since_boot - bend->anchor_ns) * bend->rate_ppm / 1000000;
}

static int64_t bent(clockid_t id) {
    switch (id) {
    case CLOCK_BOOTTIME: {
        int64_t straight = told(id);
        return straight + drift(straight) + bend->suspended_ns;
    }
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return told(id) + drift(told(CLOCK_BOOTTIME)) + bend->wall_ns;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
        return told(id) + drift(told(CLOCK_BOOTTIME));
    default:
        return told(id);
    }
}

int clock_gettime(clockid_t id, struct timespec *at) {
    if (!bend)
        return syscall(SYS_clock_gettime, id, at);
    int64_t now = bent(id);
    at->tv_sec = now / SECOND;
    at->tv_nsec = now % SECOND;
    return 0;
}

int gettimeofday(struct timeval *at, void *zone) {
    (void)zone;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now))
        return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now))
        return -1;
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

/* Waits for what is left until a moment of a bent clock, on the one clock that nobody sets. */
int pthread_cond_clockwait(pthread_cond_t *told_by, pthread_mutex_t *mutex, clockid_t id, const struct timespec *until) {
    if (!bend)
        return wait_by_clock ? wait_by_clock(told_by, mutex, id, until) : 22;
    int64_t moment = until->tv_sec > INT64_MAX / SECOND - 1 ? INT64_MAX : until->tv_sec * SECOND + until->tv_nsec;
    int64_t left = moment == INT64_MAX ? 365 * 86400 * SECOND : moment - bent(id);
    int64_t end = told(CLOCK_MONOTONIC) + (left > 0 ? left : 0);
    struct timespec straight = {end / SECOND, end % SECOND};
    return wait_by_clock(told_by, mutex, CLOCK_MONOTONIC, &straight);
}

int pthread_cond_timedwait(pthread_cond_t *told_by, pthread_mutex_t *mutex, const struct timespec *until) {
    return pthread_cond_clockwait(told_by, mutex, CLOCK_REALTIME, until);
}
