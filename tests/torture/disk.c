/* Records what a process does to the files below one folder, in order, and lets it be done.
 *
 * For LD_PRELOAD. DISK_FOLDER is the folder, absolute; DISK_TRACE the file that takes the record.
 * A record: kind (1 byte), inode (8), offset (8), length of the path (4), of the data (4), path, data.
 *   C created  W written  T truncated to offset  S synced  D synced, a folder
 *   R renamed to the path in the data  U unlinked
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int is_ours(const char *path) {
  const char *folder = getenv("DISK_FOLDER");
  size_t length = folder ? strlen(folder) : 0;
  return length && strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

static int path_of(int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_ours(path);
}

static void record(char kind, uint64_t inode, uint64_t offset, const char *path, const void *data,
                   uint32_t size) {
  uint32_t length = strlen(path);
  struct iovec parts[] = {{&kind, 1},   {&inode, 8},          {&offset, 8},        {&length, 4},
                          {&size, 4},   {(void *)path, length}, {(void *)data, size}};
  if (trace < 0) {
    const char *name = getenv("DISK_TRACE");
    if (!name) return;
    trace = REAL(open)(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  }
  size_t all = 25 + length + size;
  if (REAL(writev)(trace, parts, 7) != (ssize_t)all) abort();
}

static uint64_t inode_of(int fd) {
  struct stat found;
  return fstat(fd, &found) == 0 ? found.st_ino : 0;
}

/* The deed and its record are one: the order of the record is the order of the deeds. */
#define DO(result, deed, fd, kind, offset, data, size)                \
  do {                                                                \
    int was = errno;                                                  \
    char path[PATH_MAX];                                              \
    int ours = path_of(fd, path);                                     \
    errno = was;                                                      \
    if (!ours) return deed;                                           \
    pthread_mutex_lock(&turn);                                        \
    uint64_t at = (offset);                                           \
    __typeof__(deed) result = deed;                                   \
    was = errno;                                                      \
    if (result >= 0) record(kind, inode_of(fd), at, path, data, size); \
    pthread_mutex_unlock(&turn);                                      \
    errno = was;                                                      \
    return result;                                                    \
  } while (0)

static off_t place(int fd) {
  struct stat found;
  if ((fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &found) == 0) return found.st_size;
  return lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t size) {
  DO(done, REAL(write)(fd, data, size), fd, 'W', place(fd), data, (uint32_t)done);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  DO(done, REAL(pwrite)(fd, data, size, offset), fd, 'W', offset, data, (uint32_t)done);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  DO(done, REAL(pwrite64)(fd, data, size, offset), fd, 'W', offset, data, (uint32_t)done);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  char path[PATH_MAX];
  int was = errno;
  if (path_of(fd, path)) abort(); /* nobody did so far: better to hear of it */
  errno = was;
  return REAL(writev)(fd, parts, count);
}
int ftruncate(int fd, off_t size) {
  DO(done, REAL(ftruncate)(fd, size), fd, 'T', size, "", 0);
}
int ftruncate64(int fd, off64_t size) {
  DO(done, REAL(ftruncate64)(fd, size), fd, 'T', size, "", 0);
}

static char synced(int fd) {
  struct stat found;
  return fstat(fd, &found) == 0 && S_ISDIR(found.st_mode) ? 'D' : 'S';
}

int fsync(int fd) { DO(done, REAL(fsync)(fd), fd, synced(fd), 0, "", 0); }
int fdatasync(int fd) { DO(done, REAL(fdatasync)(fd), fd, synced(fd), 0, "", 0); }

static int opened(int fd, int was_there, int flags) {
  char path[PATH_MAX];
  int was = errno;
  if (fd >= 0 && path_of(fd, path)) {
    pthread_mutex_lock(&turn);
    if (!was_there)
      record('C', inode_of(fd), 0, path, "", 0);
    else if (flags & O_TRUNC)
      record('T', inode_of(fd), 0, path, "", 0);
    pthread_mutex_unlock(&turn);
  }
  errno = was;
  return fd;
}

#define OPENS(name, call)                                              \
  int was = errno;                                                     \
  mode_t mode = 0;                                                     \
  if (flags & (O_CREAT | O_TMPFILE)) {                                 \
    va_list more;                                                      \
    va_start(more, flags);                                             \
    mode = va_arg(more, mode_t);                                       \
    va_end(more);                                                      \
  }                                                                    \
  int was_there = !(flags & O_CREAT) || faccessat(AT, path, F_OK, 0) == 0; \
  errno = was;                                                         \
  return opened(call, was_there, flags)

#define AT AT_FDCWD
int open(const char *path, int flags, ...) { OPENS(open, REAL(open)(path, flags, mode)); }
int open64(const char *path, int flags, ...) { OPENS(open64, REAL(open64)(path, flags, mode)); }
#undef AT
#define AT folder
int openat(int folder, const char *path, int flags, ...) {
  OPENS(openat, REAL(openat)(folder, path, flags, mode));
}
int openat64(int folder, const char *path, int flags, ...) {
  OPENS(openat64, REAL(openat64)(folder, path, flags, mode));
}

static int named(int done, char kind, const char *from, const char *to) {
  if (done == 0 && is_ours(from)) record(kind, 0, 0, from, to, strlen(to));
  return done;
}
int rename(const char *from, const char *to) {
  pthread_mutex_lock(&turn);
  int done = named(REAL(rename)(from, to), 'R', from, to);
  pthread_mutex_unlock(&turn);
  return done;
}
int unlink(const char *path) {
  pthread_mutex_lock(&turn);
  int done = named(REAL(unlink)(path), 'U', path, "");
  pthread_mutex_unlock(&turn);
  return done;
}
