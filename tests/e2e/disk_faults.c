/* Stands between a program and its disk (LD_PRELOAD): what is done to channels.redb fails as the file that DISK_FAULTS names
 * says: "write" has writes fail with EIO, "sync" has fsync and fdatasync fail so, "read" has reads fail so, "short" writes half
 * of what was asked, and "full" has writes fail with ENOSPC once the file takes eight megabytes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_ordered(int fd, const char *fault) {
    char link[64], path[4096], order[16] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    if (!name || strcmp(name, "/channels.redb"))
        return 0;
    int file = open(getenv("DISK_FAULTS"), O_RDONLY);
    if (file < 0)
        return 0;
    ssize_t got = read(file, order, sizeof order - 1);
    close(file);
    return got > 0 && !strcmp(order, fault);
}

static ssize_t put(int fd, const void *bytes, size_t count, off_t at) {
    if (is_ordered(fd, "write")) {
        errno = EIO;
        return -1;
    }
    struct stat status;
    if (is_ordered(fd, "full") && !fstat(fd, &status) && status.st_blocks * 512 + (off_t)count > 8 << 20) {
        errno = ENOSPC;
        return -1;
    }
    if (count > 1 && is_ordered(fd, "short"))
        count /= 2;
    return syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return put(fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) { return put(fd, bytes, count, at); }

static ssize_t get(int fd, void *bytes, size_t count, off_t at) {
    if (is_ordered(fd, "read")) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, bytes, count, at);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t at) { return get(fd, bytes, count, at); }
ssize_t pread64(int fd, void *bytes, size_t count, off_t at) { return get(fd, bytes, count, at); }

int fsync(int fd) {
    if (is_ordered(fd, "sync")) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    if (is_ordered(fd, "sync")) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fdatasync, fd);
}
