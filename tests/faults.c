/* Preloaded into a program (LD_PRELOAD; Linux with glibc), this counts its calls for files in one folder, makes one of
 * them fail, and writes down those that change something; the same for large allocations; and lets the clock run back.
 * plant_faults.py compiles it, and says what to do in `struct board`, which it shares with the processes that it forks. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Board in plant_faults.py has the same fields. */
struct board {
    long calls;                        /* how many so far */
    long allocations, fail_allocation; /* those of at least `large` bytes; the one to fail, from 1 on, or 0 */
    long large;
    long log;     /* file descriptor to write to what changes something, or -1 */
    long back_ns; /* by how much the clock goes back whenever it is read */
};

enum { FILES = 4096, FOLDERS = 64, PATH = 1024 };

static struct board *board;
static int (*due)(const char *call, const char *path); /* what a call is to fail with, or 0 */
static int is_asking;
static char within[PATH];
static char names[FILES][PATH]; /* of watched files, by descriptor */
static struct { DIR *stream; char name[PATH]; } folders[FOLDERS];

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

/* Watch this folder from now on, and ask `which` before each call, if it is given. */
void plant(const char *folder, struct board *shared, int (*which)(const char *, const char *)) {
    snprintf(within, PATH, "%s", folder);
    board = shared, due = which;
}

#define REAL(result, name, ...)                                                    \
    static result (*real)(__VA_ARGS__);                                            \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int is_watched(const char *path) {
    size_t length = strlen(within);
    return board && !is_asking && path && !strncmp(path, within, length) && (path[length] == '/' || !path[length]);
}

static const char *name_of(int descriptor) {
    return board && !is_asking && descriptor >= 0 && descriptor < FILES && *names[descriptor] ? names[descriptor] : NULL;
}

/* The path of what a call names beside a folder that is open. */
static const char *path_at(int folder, const char *path, char *whole) {
    const char *above = name_of(folder);
    if (!path || *path == '/' || !above) return path && !*path ? above : path;
    snprintf(whole, 2 * PATH, "%s/%s", above, path);
    return whole;
}

/* Count a call; say whether it is to fail. */
static int fails(const char *call, const char *path) {
    int before = errno;
    if (!is_watched(path)) return 0;
    board->calls++;
    if (!due) return 0;
    is_asking = 1;
    int error = due(call, path);
    is_asking = 0;
    errno = error ? error : before;
    return error != 0;
}

static void put(const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    while (size) {
        ssize_t done = real((int)board->log, data, size);
        if (done <= 0) _exit(99);
        data = (const char *)data + done, size -= (size_t)done;
    }
}

/* Write down what a call did: a line "CALL NUMBER DESCRIPTOR PLACE SIZE", then so many bytes. */
static void note(const char *call, int descriptor, long place, const void *data, size_t size) {
    char line[128];
    if (!board || board->log < 0) return;
    int before = errno;
    put(line, (size_t)snprintf(line, sizeof line, "%s %ld %d %ld %zu\n", call, board->calls, descriptor, place, size));
    put(data, size);
    errno = before;
}

static void note_path(const char *call, const char *path) { note(call, -1, 0, path, strlen(path)); }

/* Files by name */

static int opened(int descriptor, const char *path, int flags) {
    if (!is_asking && descriptor >= 0 && descriptor < FILES) {
        snprintf(names[descriptor], PATH, "%s", is_watched(path) ? path : "");
        if (*names[descriptor]) note("open", descriptor, flags & (O_CREAT | O_TRUNC), path, strlen(path));
    }
    return descriptor;
}

#define MODE                                                                       \
    va_list rest;                                                                  \
    va_start(rest, flags);                                                         \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;        \
    va_end(rest)

#define OPEN(function)                                                             \
    int function(const char *path, int flags, ...) {                               \
        REAL(int, #function, const char *, int, ...);                              \
        MODE;                                                                      \
        return fails("open", path) ? -1 : opened(real(path, flags, mode), path, flags); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(function)                                                           \
    int function(int folder, const char *path, int flags, ...) {                   \
        REAL(int, #function, int, const char *, int, ...);                         \
        MODE;                                                                      \
        char whole[2 * PATH];                                                      \
        const char *at = path_at(folder, path, whole);                             \
        return fails("open", at) ? -1 : opened(real(folder, path, flags, mode), at, flags); \
    }
OPENAT(openat)
OPENAT(openat64)

/* Nothing here writes to a watched file by this, or by what is UNKNOWN below: the log would be wrong without a word. */
#define FOPEN(function)                                                            \
    FILE *function(const char *path, const char *mode) {                           \
        REAL(FILE *, #function, const char *, const char *);                       \
        if (is_watched(path) && *mode != 'r') _exit(98);                            \
        return fails("open", path) ? NULL : real(path, mode);                      \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* A call for one path that changes something if `noted`. */
#define ON_PATH(function, call, noted, parameters, arguments, path)                \
    int function parameters {                                                      \
        static int(*real) parameters;                                              \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #function);          \
        char whole[2 * PATH];                                                      \
        const char *at = path;                                                     \
        (void)whole;                                                               \
        if (fails(call, at)) return -1;                                            \
        int result = real arguments;                                               \
        if (noted && !result && is_watched(at)) note_path(call, at);               \
        return result;                                                             \
    }
ON_PATH(mkdir, "mkdir", 1, (const char *a, mode_t b), (a, b), a)
ON_PATH(mkdirat, "mkdir", 1, (int a, const char *b, mode_t c), (a, b, c), path_at(a, b, whole))
ON_PATH(unlink, "unlink", 1, (const char *a), (a), a)
ON_PATH(unlinkat, "unlink", 1, (int a, const char *b, int c), (a, b, c), path_at(a, b, whole))
ON_PATH(rmdir, "unlink", 1, (const char *a), (a), a)
ON_PATH(access, "access", 0, (const char *a, int b), (a, b), a)
ON_PATH(faccessat, "access", 0, (int a, const char *b, int c, int d), (a, b, c, d), path_at(a, b, whole))
ON_PATH(stat, "stat", 0, (const char *a, struct stat *b), (a, b), a)
ON_PATH(stat64, "stat", 0, (const char *a, struct stat64 *b), (a, b), a)
ON_PATH(lstat, "stat", 0, (const char *a, struct stat *b), (a, b), a)
ON_PATH(lstat64, "stat", 0, (const char *a, struct stat64 *b), (a, b), a)
ON_PATH(fstatat, "stat", 0, (int a, const char *b, struct stat *c, int d), (a, b, c, d), path_at(a, b, whole))
ON_PATH(fstatat64, "stat", 0, (int a, const char *b, struct stat64 *c, int d), (a, b, c, d), path_at(a, b, whole))
ON_PATH(__xstat64, "stat", 0, (int a, const char *b, struct stat64 *c), (a, b, c), b)
ON_PATH(__lxstat64, "stat", 0, (int a, const char *b, struct stat64 *c), (a, b, c), b)
ON_PATH(truncate64, "truncate", 0, (const char *a, off64_t b), (a, b), a)
/* Of a file that is open. */
ON_PATH(fstat, "fstat", 0, (int a, struct stat *b), (a, b), name_of(a))
ON_PATH(fstat64, "fstat", 0, (int a, struct stat64 *b), (a, b), name_of(a))
ON_PATH(__fxstat64, "fstat", 0, (int a, int b, struct stat64 *c), (a, b, c), name_of(b))
ON_PATH(flock, "flock", 0, (int a, int b), (a, b), name_of(a))

static int renamed(const char *from, const char *to, int result) {
    char both[2 * PATH];
    if (!result && is_watched(to)) note("rename", -1, 0, both, (size_t)snprintf(both, sizeof both, "%s\n%s", from, to));
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return fails("rename", to) ? -1 : renamed(from, to, real(from, to));
}

int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    char first[2 * PATH], second[2 * PATH];
    const char *old = path_at(a, from, first), *new = path_at(b, to, second);
    return fails("rename", new) ? -1 : renamed(old, new, real(a, from, b, to));
}

/* Files that are open */

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!name_of(file)) return real(file, data, size);
    if (fails("write", name_of(file))) return -1;
    long place = lseek(file, 0, SEEK_CUR);
    ssize_t done = real(file, data, size);
    if (done > 0) note("write", file, place, data, (size_t)done);
    return done;
}

#define PWRITE(function)                                                           \
    ssize_t function(int file, const void *data, size_t size, off_t place) {       \
        REAL(ssize_t, #function, int, const void *, size_t, off_t);                \
        if (fails("write", name_of(file))) return -1;                              \
        ssize_t done = real(file, data, size, place);                              \
        if (done > 0 && name_of(file)) note("write", file, place, data, (size_t)done); \
        return done;                                                               \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define UNKNOWN(result, function, parameters, arguments, file)                     \
    result function parameters {                                                   \
        static result(*real) parameters;                                           \
        if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #function);       \
        if (name_of(file)) _exit(98);                                              \
        return real arguments;                                                     \
    }
UNKNOWN(ssize_t, writev, (int a, const struct iovec *b, int c), (a, b, c), a)
UNKNOWN(ssize_t, pwritev64, (int a, const struct iovec *b, int c, off64_t d), (a, b, c, d), a)
UNKNOWN(ssize_t, sendfile64, (int a, int b, off64_t *c, size_t d), (a, b, c, d), a)
UNKNOWN(ssize_t, copy_file_range, (int a, off64_t *b, int c, off64_t *d, size_t e, unsigned f), (a, b, c, d, e, f), c)

#define READ(result, function, call, parameters, arguments)                        \
    result function parameters {                                                   \
        static result(*real) parameters;                                           \
        if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #function);       \
        return fails(call, name_of(a)) ? -1 : real arguments;                      \
    }
READ(ssize_t, read, "read", (int a, void *b, size_t c), (a, b, c))
READ(ssize_t, readv, "read", (int a, const struct iovec *b, int c), (a, b, c))
READ(ssize_t, pread, "read", (int a, void *b, size_t c, off_t d), (a, b, c, d))
READ(ssize_t, pread64, "read", (int a, void *b, size_t c, off64_t d), (a, b, c, d))

#define SYNC(function)                                                             \
    int function(int file) {                                                       \
        REAL(int, #function, int);                                                 \
        if (fails("fsync", name_of(file))) return -1;                              \
        int result = real(file);                                                   \
        if (!result && name_of(file)) note("fsync", file, 0, "", 0);               \
        return result;                                                             \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(function)                                                         \
    int function(int file, off_t size) {                                           \
        REAL(int, #function, int, off_t);                                          \
        if (fails("truncate", name_of(file))) return -1;                           \
        int result = real(file, size);                                             \
        if (!result && name_of(file)) note("truncate", file, size, "", 0);         \
        return result;                                                             \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

/* As Linux does, a close that fails has closed. */
int close(int file) {
    REAL(int, "close", int);
    int failed = fails("close", name_of(file)), error = errno;
    if (name_of(file)) note("close", file, 0, "", 0), *names[file] = 0;
    int result = real(file);
    if (!failed) return result;
    errno = error;
    return -1;
}

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    if (fails("opendir", path)) return NULL;
    DIR *stream = real(path);
    for (int i = 0; stream && is_watched(path) && i < FOLDERS; i++)
        if (!folders[i].stream) {
            folders[i].stream = stream;
            snprintf(folders[i].name, PATH, "%s", path);
            break;
        }
    return stream;
}

int closedir(DIR *stream) {
    REAL(int, "closedir", DIR *);
    for (int i = 0; i < FOLDERS; i++)
        if (folders[i].stream == stream) folders[i].stream = NULL;
    return real(stream);
}

struct dirent64 *readdir64(DIR *stream) {
    REAL(struct dirent64 *, "readdir64", DIR *);
    for (int i = 0; i < FOLDERS; i++)
        if (folders[i].stream == stream && fails("readdir", folders[i].name)) return NULL;
    return real(stream);
}

/* Memory */

/* HDF5 (2.0) is spared: when it is refused a piece it frees what it keeps for later, with what is in use, and crashes
 * now and then. */
static int is_hdf5(void *caller) {
    Dl_info where;
    is_asking = 1;
    int found = dladdr(caller, &where) && where.dli_fname && strstr(where.dli_fname, "libhdf5");
    is_asking = 0;
    return found;
}

static int is_refused(size_t size, void *caller) {
    if (!board || is_asking || (long)size < board->large || is_hdf5(caller)) return 0;
    if (++board->allocations != board->fail_allocation) return 0;
    errno = ENOMEM;
    return 1;
}

#define is_short(size) is_refused(size, __builtin_return_address(0))

void *malloc(size_t size) { return is_short(size) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return is_short(count * size) ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return is_short(size) ? NULL : __libc_realloc(old, size); }
void *memalign(size_t unit, size_t size) { return is_short(size) ? NULL : __libc_memalign(unit, size); }
void *aligned_alloc(size_t unit, size_t size) { return is_short(size) ? NULL : __libc_memalign(unit, size); }

int posix_memalign(void **found, size_t unit, size_t size) {
    if (is_short(size)) return ENOMEM;
    void *memory = __libc_memalign(unit, size);
    if (!memory) return ENOMEM;
    *found = memory;
    return 0;
}

#define MMAP(function)                                                             \
    void *function(void *at, size_t size, int protection, int flags, int file, off_t place) { \
        REAL(void *, #function, void *, size_t, int, int, int, off_t);             \
        int failed = flags & MAP_ANONYMOUS ? is_short(size) : fails("mmap", name_of(file)); \
        return failed ? MAP_FAILED : real(at, size, protection, flags, file, place); \
    }
MMAP(mmap)
MMAP(mmap64)

/* The clock that can be set */

static long long behind(void) {
    static long long by;
    return board && board->back_ns ? by += board->back_ns : 0;
}

static void go_back(struct timespec *now) {
    long long ns = now->tv_sec * 1000000000LL + now->tv_nsec - behind();
    now->tv_sec = ns / 1000000000LL, now->tv_nsec = ns % 1000000000LL;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(clock, now);
    if (!result && clock == CLOCK_REALTIME) go_back(now);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec, now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *kept) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (kept) *kept = now.tv_sec;
    return now.tv_sec;
}
