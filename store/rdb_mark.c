/* The acknowledgement mark: up to which of RocksDB's sequence numbers this directory has told
 * anyone that a write is durable. It lies outside of RocksDB, so that a recovery that finds less
 * can be seen for what it is: a torn tail of the commit log that nobody was told of is no loss, one
 * that was acknowledged is.
 *
 * Written after each sync of the log and before anybody hears of it, never ahead of the log: exact
 * when the process is killed. fdatasync follows within SYNC_EVERY_NS, so a power cut may leave the
 * mark that much behind, and a loss within that time unseen.
 *
 * The file has two slots a page apart, written in turn: {magic, count, sequence, checksum}, little
 * endian. The readable one with the higher count counts. None readable in a file that is not all
 * zero is damage, and taken for a loss. */
#include "model/hash.h"
#include "store/rdb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define FILE_NAME     "ack-mark"
#define MAGIC         UINT64_C(0x6b72616d2d6b6361)
#define SLOTS         2u
#define SLOT_BYTES    4096u
#define SYNC_EVERY_NS 100000000u

struct slot {
    uint64_t magic;
    uint64_t count;
    uint64_t sequence;
    uint64_t checksum;
};

static uint64_t slot_checksum(const struct slot *slot)
{
    return hash_bytes(bytes_of(slot, offsetof(struct slot, checksum)), MAGIC);
}

static bool slot_is_zero(const struct slot *slot)
{
    return slot->magic == 0 && slot->count == 0 && slot->sequence == 0 && slot->checksum == 0;
}

/* A file that is too short reads as zeros. */
static enum err slots_read(int fd, struct slot slots[SLOTS])
{
    memset(slots, 0, SLOTS * sizeof slots[0]);
    for (uint32_t i = 0; i < SLOTS; i++)
        if (pread(fd, &slots[i], sizeof slots[i], (off_t)(i * SLOT_BYTES)) < 0)
            return ERR_IO;
    return OK;
}

/* Room for both slots now, so that no write of the mark needs space later. */
static enum err file_prepare(int fd)
{
    static const uint8_t zeros[SLOTS * SLOT_BYTES];
    off_t size = lseek(fd, 0, SEEK_END);
    if (size >= (off_t)sizeof zeros)
        return OK;
    ssize_t missing = (ssize_t)sizeof zeros - size;
    if (size < 0 || pwrite(fd, zeros, (size_t)missing, size) != missing)
        return ERR_IO;
    return fsync(fd) == 0 ? OK : ERR_IO;
}

enum err rdb_mark_open(struct rdb_mark *mark, const char *directory, bool *ret_damaged)
{
    struct arena arena;
    struct slot slots[SLOTS];
    arena_init(&arena, NULL, 0);
    *mark = (struct rdb_mark){
        .fd = open(arena_printf(&arena, "%s/%s", directory, FILE_NAME),
                   O_RDWR | O_CREAT | O_CLOEXEC, 0640),
    };
    arena_deinit(&arena);
    enum err err = mark->fd < 0 ? ERR_IO : slots_read(mark->fd, slots);
    if (err == OK)
        err = file_prepare(mark->fd);
    if (err != OK)
        return err;
    bool readable = false;
    bool written = false;
    for (uint32_t i = 0; i < SLOTS; i++) {
        const struct slot *slot = &slots[i];
        written |= !slot_is_zero(slot);
        if (slot->magic != MAGIC || slot->checksum != slot_checksum(slot))
            continue;
        if (!readable || slot->count > mark->count) {
            mark->count = slot->count;
            mark->sequence = slot->sequence;
        }
        readable = true;
    }
    *ret_damaged = written && !readable;
    return OK;
}

void rdb_mark_write(struct rdb_engine *engine, uint64_t sequence)
{
    struct rdb_mark *mark = &engine->mark;
    struct slot slot = {.magic = MAGIC, .count = mark->count + 1, .sequence = sequence};
    slot.checksum = slot_checksum(&slot);
    off_t place = (off_t)(slot.count % SLOTS * SLOT_BYTES);
    ssize_t written = pwrite(mark->fd, &slot, sizeof slot, place);
    if (written == (ssize_t)sizeof slot) {
        mark->count = slot.count;
        mark->sequence = sequence;
        mark->dirty = true;
    } else if (errno == ENOSPC || errno == EDQUOT) {
        counter_add(&mark->missed, 1); /* some file systems need space for that: it stays behind */
    } else {
        rdb_fail(engine, "the acknowledgement mark cannot be written");
    }
}

void rdb_mark_sync(struct rdb_engine *engine, uint64_t now_ns)
{
    struct rdb_mark *mark = &engine->mark;
    if (!mark->dirty || now_ns < mark->synced_ns + SYNC_EVERY_NS)
        return;
    mark->dirty = false;
    mark->synced_ns = now_ns;
    if (fdatasync(mark->fd) != 0)
        rdb_fail(engine, "fdatasync of the acknowledgement mark failed");
}

void rdb_mark_close(struct rdb_mark *mark)
{
    if (mark->fd < 0)
        return;
    if (mark->dirty && fdatasync(mark->fd) != 0)
        mark->dirty = false; /* behind is allowed */
    close(mark->fd);
    mark->fd = -1;
}
