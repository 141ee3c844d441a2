/*
 * Faults of a real machine, for tests: preloaded into a node, it fails flushes and moves the wall
 * clock while the files that the environment names say so.
 *
 *   MFSHA_TEST_FAIL_FLUSH   a file; while it exists, fsync, fdatasync and msync fail with EIO
 *   MFSHA_TEST_CLOCK        a file with a number of seconds that are added to the wall clock
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int flush_fails(void) {
  const char *path = getenv("MFSHA_TEST_FAIL_FLUSH");
  int fails = path && access(path, F_OK) == 0;
  if (fails) errno = EIO;
  return fails;
}

static long shift(void) {
  const char *path = getenv("MFSHA_TEST_CLOCK");
  long seconds = 0;
  FILE *file = path ? fopen(path, "r") : NULL;
  if (file) {
    if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
    fclose(file);
  }
  return seconds;
}

int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fsync");
  return flush_fails() ? -1 : real(fd);
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
  return flush_fails() ? -1 : real(fd);
}

int msync(void *address, size_t length, int flags) {
  static int (*real)(void *, size_t, int);
  if (!real) real = dlsym(RTLD_NEXT, "msync");
  return flush_fails() ? -1 : real(address, length, flags);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += shift();
  return result;
}
