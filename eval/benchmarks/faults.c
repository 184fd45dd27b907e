/* Preloaded into a process, makes its Nth change to the disk fail, be cut short, or be its last.

   cc -shared -fPIC -O1 -o faults.so faults.c -ldl ; LD_PRELOAD=./faults.so python ...
   arm(n, mode) counts from here and acts on change n; arm(0, 0) stops; changes() is how many there were since.
   Changes are writes, renames, links, truncations and flushes, by whichever library makes them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NO_SPACE = 1, BROKEN = 2, CUT_SHORT = 3, KILL_BEFORE = 4, KILL_WITHIN = 5, KILL_AFTER = 6 };

static volatile long at = 0, seen = 0;
static volatile int mode = 0, full = 0;

void arm(long n, int how) { at = n; mode = how; seen = 0; full = 0; }
long changes(void) { return seen; }

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, #name)

/* Whether to act on this change; after one was cut short, as on a full disk, every later write fails too. */
static int hit(void) { return mode && ++seen == at; }
static int refuse(int code) { errno = code; return -1; }
static void end(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define UNDIVIDED(call)                                            \
    if (hit()) {                                                   \
        if (mode == KILL_AFTER) { (void)!(call); end(); }          \
        if (mode >= KILL_BEFORE) end();                            \
        return refuse(mode == NO_SPACE ? ENOSPC : EIO);            \
    }                                                              \
    return call

#define WRITTEN(call, half, size)                                  \
    if (full && mode == CUT_SHORT) return refuse(ENOSPC);          \
    if (fd > 2 && hit()) {                                         \
        if (mode == KILL_AFTER) { (void)!(call); end(); }          \
        if (mode == KILL_WITHIN) { (void)!(half); end(); }         \
        if (mode == KILL_BEFORE) end();                            \
        if (mode == CUT_SHORT) { full = 1; if ((size) > 1) return half; return refuse(ENOSPC); } \
        return refuse(mode == NO_SPACE ? ENOSPC : EIO);            \
    }                                                              \
    return call

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    WRITTEN(real(fd, data, size), real(fd, data, size / 2), size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    WRITTEN(real(fd, data, size, offset), real(fd, data, size / 2, offset), size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    WRITTEN(real(fd, parts, count), real(fd, parts, count / 2), count);
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
    if (fileno(file) > 2) {
        if (full && mode == CUT_SHORT) { errno = ENOSPC; return 0; }
        if (hit()) {
            if (mode == KILL_BEFORE) end();
            size_t done = mode == NO_SPACE || mode == BROKEN ? 0 : mode == KILL_AFTER ? count : count / 2;
            done = real(data, size, done, file);
            if (mode >= KILL_BEFORE) { fflush(file); end(); }
            full = 1;
            errno = mode == BROKEN ? EIO : ENOSPC;
            return done;
        }
    }
    return real(data, size, count, file);
}

int fsync(int fd) { REAL(int, fsync, int); UNDIVIDED(real(fd)); }
int fdatasync(int fd) { REAL(int, fdatasync, int); UNDIVIDED(real(fd)); }
int ftruncate(int fd, off_t size) { REAL(int, ftruncate, int, off_t); UNDIVIDED(real(fd, size)); }
int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    UNDIVIDED(real(from, to));
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    UNDIVIDED(real(a, from, b, to));
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    UNDIVIDED(real(a, from, b, to, flags));
}
int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *);
    UNDIVIDED(real(from, to));
}
int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    UNDIVIDED(real(a, from, b, to, flags));
}
