/*
 * Faults of a real machine, for tests: preloaded into a node, it fails flushes and writes and moves
 * the wall clock while the files that the environment names say so.
 *
 *   MFSHA_TEST_FAIL_FLUSH   a file; while it exists, fsync, fdatasync and msync fail with EIO
 *   MFSHA_TEST_READ_ONLY    a file; while it exists, writing, and opening for writing, fail with
 *                           EROFS
 *   MFSHA_TEST_NO_DESCRIPTOR  a file; while it exists, accept4 fails with EMFILE
 *   MFSHA_TEST_CLOCK        a file with a number of seconds that are added to the wall clock
 *
 * A file of the first two may hold a path: then only what begins with it fails. Pipes and sockets
 * never do, and msync only without one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Whether the switch that a variable names is on for a path; NULL is for no file in particular. */
static int is_on(const char *variable, const char *path) {
  const char *name = getenv(variable);
  char prefix[4096] = "";
  FILE *file = name ? fopen(name, "r") : NULL;
  if (!file) return 0;
  if (!fgets(prefix, sizeof prefix, file)) prefix[0] = 0;
  fclose(file);
  prefix[strcspn(prefix, "\n")] = 0;
  if (!prefix[0]) return 1;
  return path && strncmp(path, prefix, strlen(prefix)) == 0;
}

static int is_on_for(const char *variable, int fd) {
  char link[64], path[4096];
  if (!getenv(variable)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0 || path[0] != '/') return 0;
  path[length] = 0;
  return is_on(variable, path);
}

static int flush_fails(int fd) {
  int saved = errno;
  int fails = is_on_for("MFSHA_TEST_FAIL_FLUSH", fd);
  errno = fails ? EIO : saved;
  return fails;
}

static int write_fails(int fd) {
  int saved = errno;
  int fails = is_on_for("MFSHA_TEST_READ_ONLY", fd);
  errno = fails ? EROFS : saved;
  return fails;
}

static int open_fails(const char *path, int flags) {
  int saved = errno;
  int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
  int fails = writes && is_on("MFSHA_TEST_READ_ONLY", path);
  errno = fails ? EROFS : saved;
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
  return flush_fails(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
  return flush_fails(fd) ? -1 : real(fd);
}

int msync(void *address, size_t length, int flags) {
  static int (*real)(void *, size_t, int);
  if (!real) real = dlsym(RTLD_NEXT, "msync");
  if (is_on("MFSHA_TEST_FAIL_FLUSH", NULL)) {
    errno = EIO;
    return -1;
  }
  return real(address, length, flags);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = dlsym(RTLD_NEXT, "pwrite");
  return write_fails(fd) ? -1 : real(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
  static ssize_t (*real)(int, const void *, size_t, off64_t);
  if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
  return write_fails(fd) ? -1 : real(fd, bytes, count, offset);
}

int open(const char *path, int flags, ...) {
  static int (*real)(const char *, int, ...);
  if (!real) real = dlsym(RTLD_NEXT, "open");
  va_list rest;
  va_start(rest, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_fails(path, flags) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  static int (*real)(const char *, int, ...);
  if (!real) real = dlsym(RTLD_NEXT, "open64");
  va_list rest;
  va_start(rest, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_fails(path, flags) ? -1 : real(path, flags, mode);
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
  static int (*real)(int, struct sockaddr *, socklen_t *, int);
  if (!real) real = dlsym(RTLD_NEXT, "accept4");
  if (is_on("MFSHA_TEST_NO_DESCRIPTOR", NULL)) {
    errno = EMFILE;
    return -1;
  }
  return real(fd, address, length, flags);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += shift();
  return result;
}
