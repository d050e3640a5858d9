/* disk_faults.h -- faults of the disk under the real RocksDB: this file defines fdatasync and
 * fsync, so that the shared library's calls come here first. By default they only do what the
 * kernel does.
 *
 * Included by exactly one source file of a test program.
 */
#ifndef TESTS_STORE_DISK_FAULTS_H
#define TESTS_STORE_DISK_FAULTS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Endings of file names, string constants; NULL: no such fault. */
static _Atomic(const char *) disk_faults_sync_error;
static _Atomic(const char *) disk_faults_sync_stall;
static _Atomic unsigned disk_faults_hits;
/* Every sync of a commit log takes this much longer. */
static _Atomic unsigned disk_faults_log_delay_us;
/* Hears of each sync of a commit log before it begins, and need not return; and of each sync that
 * succeeded: the file and its size when the sync began. */
static void (*disk_faults_syncing)(ino_t inode, off_t size);
static void (*disk_faults_synced)(ino_t inode, off_t size);

static inline void disk_faults_set_sync_error(const char *ending)
{
    atomic_store(&disk_faults_sync_error, ending);
}

static inline void disk_faults_set_sync_stall(const char *ending)
{
    atomic_store(&disk_faults_sync_stall, ending);
}

static inline void disk_faults_clear(void)
{
    disk_faults_set_sync_error(NULL);
    disk_faults_set_sync_stall(NULL);
}

static inline bool disk_faults_match(int fd, const char *ending)
{
    if (ending == NULL)
        return false;
    char link[64];
    char path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    size_t ending_size = strlen(ending);
    return size >= (ssize_t)ending_size &&
           memcmp(path + (size_t)size - ending_size, ending, ending_size) == 0;
}

static inline int disk_faults_sync(int fd, long call)
{
    while (disk_faults_match(fd, atomic_load(&disk_faults_sync_stall))) {
        atomic_fetch_add(&disk_faults_hits, 1);
        usleep(2000);
    }
    if (disk_faults_match(fd, atomic_load(&disk_faults_sync_error))) {
        atomic_fetch_add(&disk_faults_hits, 1);
        errno = EIO;
        return -1;
    }
    struct stat status = {0};
    unsigned delay_us = atomic_load(&disk_faults_log_delay_us);
    if (disk_faults_synced != NULL)
        fstat(fd, &status);
    if (disk_faults_syncing != NULL && disk_faults_match(fd, ".log"))
        disk_faults_syncing(status.st_ino, status.st_size);
    if (delay_us != 0 && disk_faults_match(fd, ".log"))
        usleep(delay_us);
    int result = (int)syscall(call, fd);
    if (result == 0 && disk_faults_synced != NULL)
        disk_faults_synced(status.st_ino, status.st_size);
    return result;
}

int fdatasync(int fd);
int fdatasync(int fd)
{
    return disk_faults_sync(fd, SYS_fdatasync);
}

int fsync(int fd);
int fsync(int fd)
{
    return disk_faults_sync(fd, SYS_fsync);
}

#endif
