/* Makes every fsync take longer than the disk does: 5 ms, or so many microseconds as SLOW_FSYNC_MICROS says. Loaded with
 * LD_PRELOAD into a program that calls the C library for it; run.sh builds it. The file is synced all the same. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

static void wait_more(void) {
  const char *text = getenv("SLOW_FSYNC_MICROS");
  long micros = text ? atol(text) : 5000;
  struct timespec left = {micros / 1000000, micros % 1000000 * 1000};
  int kept = errno;
  while (nanosleep(&left, &left) == -1 && errno == EINTR) {
  }
  errno = kept;
}

int fsync(int file) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  int done = real(file);
  wait_more();
  return done;
}

int fdatasync(int file) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  int done = real(file);
  wait_more();
  return done;
}

int sync_file_range(int file, off64_t offset, off64_t length, unsigned int flags) {
  static int (*real)(int, off64_t, off64_t, unsigned int);
  if (!real) real = (int (*)(int, off64_t, off64_t, unsigned int))dlsym(RTLD_NEXT, "sync_file_range");
  int done = real(file, offset, length, flags);
  /* Without a flag to wait it only starts the writing, which takes no disk's time. */
  if (flags & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER)) wait_more();
  return done;
}
