#include "store/rdb.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FORMAT           "1"
#define MEMORY_BYTES_MIN (8ull * 1024 * 1024)

/* Where open says what went wrong and what to do next. */
struct reason {
    char *text;
    size_t size;
};

__attribute__((format(printf, 3, 4))) static enum err explain(const struct reason *why,
                                                              enum err err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why->text, why->size, format, arguments);
    va_end(arguments);
    return err;
}

uint64_t rdb_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void rdb_fail(struct rdb_engine *engine, const char *why)
{
    if (!atomic_exchange(&engine->failed, true) && engine->options.failed != NULL)
        engine->options.failed(engine->options.host, why);
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool rdb_is_stall(const char *message)
{
    return starts_with(message, "Result incomplete") || starts_with(message, "Incomplete");
}

enum err rdb_error(char *message)
{
    enum err err = starts_with(message, "Corruption") ? ERR_CORRUPT : ERR_IO;
    rocksdb_free(message);
    return err;
}

/* -- the directory ---------------------------------------------------------------------------- */

static void sync_parent(const char *directory)
{
    char *copy = strdup(directory);
    CHECK(copy != NULL);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); /* without it the new directory may be gone after a power cut, with all in it */
        close(fd);
    }
    free(copy);
}

static enum err prepare_directory(const char *directory, const struct reason *why)
{
    if (mkdir(directory, 0750) == 0)
        sync_parent(directory);
    else if (errno != EEXIST)
        return explain(why, ERR_IO,
                       "cannot create the directory %s: %s; create its parent and let this user "
                       "write there, or choose another data directory",
                       directory, strerror(errno));
    struct stat status;
    if (stat(directory, &status) != 0 || !S_ISDIR(status.st_mode))
        return explain(why, ERR_IO, "%s is not a directory; choose another data directory",
                       directory);
    if (access(directory, R_OK | W_OK | X_OK) != 0)
        return explain(why, ERR_IO,
                       "this user may not write to the directory %s: %s; change its owner, or "
                       "choose another data directory",
                       directory, strerror(errno));
    return OK;
}

static bool database_exists(const char *directory)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    bool exists = access(arena_printf(&arena, "%s/CURRENT", directory), F_OK) == 0;
    arena_deinit(&arena);
    return exists;
}

/* Frees the message. */
static enum err explain_open_error(const char *directory, char *message, const struct reason *why)
{
    enum err err = ERR_IO;
    if (strstr(message, "/LOCK") != NULL &&
        (strstr(message, "lock hold") != NULL || strstr(message, "While lock file") != NULL))
        err = explain(why, ERR_DENIED,
                      "the directory %s is in use by another process; stop that one, or choose "
                      "another data directory (%s)",
                      directory, message);
    else if (starts_with(message, "Corruption"))
        err =
            explain(why, ERR_CORRUPT,
                    "the data in %s is damaged: %s; restore it from a backup, or move it away and "
                    "let this node start empty and be repaired by its peers",
                    directory, message);
    else if (strstr(message, "No space left") != NULL)
        err = explain(why, ERR_IO, "no disk space is left for %s: %s; free some and start again",
                      directory, message);
    else if (strstr(message, "Too many open files") != NULL)
        err = explain(why, ERR_IO, "too many open files: %s; raise the limit (ulimit -n)", message);
    else
        err =
            explain(why, ERR_IO,
                    "cannot open the data in %s: %s; check the owner and the rights of its files, "
                    "and the disk",
                    directory, message);
    rocksdb_free(message);
    return err;
}

/* -- the database ----------------------------------------------------------------------------- */

struct family_list {
    size_t count;
    char **names;
};

/* What is there, plus "default", "meta" and "hints"; the names are malloc'ed. */
static enum err list_families(struct rdb_engine *engine, struct family_list *ret_list,
                              const struct reason *why)
{
    static const char *const always[] = {"default", "meta", "hints"};
    size_t found_count = 0;
    char **found = NULL;
    if (database_exists(engine->directory)) {
        char *error = NULL;
        found = rocksdb_list_column_families(engine->db_options, engine->directory, &found_count,
                                             &error);
        if (error != NULL) {
            rocksdb_list_column_families_destroy(found, found_count);
            return explain_open_error(engine->directory, error, why);
        }
    }
    struct family_list list = {.names = calloc(found_count + ARRAY_COUNT(always), sizeof(char *))};
    CHECK(list.names != NULL);
    for (size_t i = 0; i < found_count; i++)
        list.names[list.count++] = strdup(found[i]);
    if (found != NULL)
        rocksdb_list_column_families_destroy(found, found_count);
    for (size_t i = 0; i < ARRAY_COUNT(always); i++) {
        size_t at = 0;
        while (at < list.count && strcmp(list.names[at], always[i]) != 0)
            at++;
        if (at == list.count)
            list.names[list.count++] = strdup(always[i]);
    }
    *ret_list = list;
    return OK;
}

static void family_list_free(struct family_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
}

static enum err check_families(struct rdb_engine *engine, const struct family_list *list,
                               const struct reason *why)
{
    for (size_t i = 0; i < list->count; i++) {
        uint32_t partition;
        if (strcmp(list->names[i], "default") == 0)
            continue;
        if (!rdb_family_parse(list->names[i], &partition))
            return explain(
                why, ERR_INVALID,
                "%s holds a column family \"%s\" that this version does not know; use the "
                "version that wrote it, or choose another data directory",
                engine->directory, list->names[i]);
        if (partition < STORE_HINTS && partition >= engine->options.partitions)
            return explain(why, ERR_INVALID,
                           "%s holds partition %u, but %u partitions are configured; the number is "
                           "fixed when a cluster is created: configure the old one",
                           engine->directory, partition, engine->options.partitions);
    }
    return OK;
}

static void keep_families(struct rdb_engine *engine, const struct family_list *list,
                          rocksdb_column_family_handle_t **families)
{
    engine->families = calloc((size_t)engine->options.partitions + 2, sizeof *engine->families);
    CHECK(engine->families != NULL);
    for (size_t i = 0; i < list->count; i++) {
        uint32_t partition;
        if (rdb_family_parse(list->names[i], &partition))
            atomic_store(
                &engine->families[engine_partition_slot(partition, engine->options.partitions)],
                families[i]);
        else
            engine->default_family = families[i];
    }
    CHECK(engine->default_family != NULL);
}

static enum err open_families(struct rdb_engine *engine, const struct family_list *list,
                              const struct reason *why)
{
    const rocksdb_options_t **options = calloc(list->count, sizeof *options);
    rocksdb_column_family_handle_t **families = calloc(list->count, sizeof(void *));
    CHECK(options != NULL && families != NULL);
    for (size_t i = 0; i < list->count; i++)
        options[i] = engine->db_options;
    rocksdb_options_set_create_missing_column_families(engine->db_options, 1);
    char *error = NULL;
    engine->db =
        rocksdb_open_column_families(engine->db_options, engine->directory, (int)list->count,
                                     (const char *const *)list->names, options, families, &error);
    enum err err = OK;
    if (error != NULL)
        err = explain_open_error(engine->directory, error, why);
    else
        keep_families(engine, list, families);
    free(families);
    free(options);
    return err;
}

static enum err open_database(struct rdb_engine *engine, const struct reason *why)
{
    struct family_list list = {0};
    enum err err = list_families(engine, &list, why);
    if (err != OK)
        return err;
    err = check_families(engine, &list, why);
    if (err == OK)
        err = open_families(engine, &list, why);
    family_list_free(&list);
    return err;
}

/* -- what is fixed at creation: key in the default family, text value ------------------------- */

static enum err fix_setting(struct rdb_engine *engine, const char *name, const char *value,
                            const struct reason *why)
{
    char *error = NULL;
    size_t size = 0;
    char *found = rocksdb_get_cf(engine->db, engine->read_options, engine->default_family, name,
                                 strlen(name), &size, &error);
    if (error != NULL)
        return explain_open_error(engine->directory, error, why);
    if (found != NULL) {
        bool same = bytes_equal(bytes_of(found, size), bytes_of_string(value));
        enum err err = OK;
        if (!same)
            err = explain(why, ERR_INVALID,
                          "%s was created with %s %.*s, but %s is configured; this is fixed at "
                          "creation: configure the old one, or choose another data directory",
                          engine->directory, name, (int)size, found, value);
        rocksdb_free(found);
        return err;
    }
    rocksdb_put_cf(engine->db, engine->write_options, engine->default_family, name, strlen(name),
                   value, strlen(value), &error);
    if (error == NULL)
        rocksdb_flush_wal(engine->db, 1, &error);
    return error == NULL ? OK : explain_open_error(engine->directory, error, why);
}

/* A record in the new log. Without one RocksDB forgets its sequence: when all that it has replayed
 * was of vnodes that are dropped, it deletes the old log and keeps nothing that says how far it
 * was, and the mark would call that a loss at the next start. */
static enum err keep_sequence(struct rdb_engine *engine, const struct reason *why)
{
    static const char name[] = "opened";
    char *error = NULL;
    rocksdb_put_cf(engine->db, engine->write_options, engine->default_family, name, sizeof name - 1,
                   "", 0, &error);
    if (error == NULL)
        rocksdb_flush_wal(engine->db, 1, &error);
    return error == NULL ? OK : explain_open_error(engine->directory, error, why);
}

static enum err fix_settings(struct rdb_engine *engine, const struct reason *why)
{
    char partitions[16];
    snprintf(partitions, sizeof partitions, "%u", engine->options.partitions);
    enum err err = fix_setting(engine, "format", FORMAT, why);
    return err == OK ? fix_setting(engine, "partitions", partitions, why) : err;
}

/* -- the engine ------------------------------------------------------------------------------- */

static struct store *rdb_store(struct engine *base, uint32_t handle)
{
    struct rdb_engine *engine = CONTAINER_OF(base, struct rdb_engine, engine);
    CHECK_U64(handle, <, engine->options.handle_count);
    return &engine->handles[handle].store;
}

static void close_database(struct rdb_engine *engine)
{
    if (engine->db == NULL)
        return;
    rocksdb_cancel_all_background_work(engine->db, 1);
    rdb_families_close(engine);
    rocksdb_close(engine->db);
}

static void engine_free(struct rdb_engine *engine)
{
    close_database(engine);
    rdb_mark_close(&engine->mark);
    rdb_options_deinit(engine);
    pthread_mutex_destroy(&engine->families_mutex);
    pthread_mutex_destroy(&engine->figures_mutex);
    free(engine->directory);
    free(engine);
}

static void rdb_close(struct engine *base)
{
    struct rdb_engine *engine = CONTAINER_OF(base, struct rdb_engine, engine);
    for (uint32_t i = 0; i < engine->options.handle_count; i++)
        store_submit(&engine->handles[i].store);
    rdb_syncer_stop(engine);
    rdb_compactor_stop(engine);
    for (uint32_t i = 0; i < engine->options.handle_count; i++)
        rdb_handle_deinit(&engine->handles[i]);
    free(engine->handles);
    rocksdb_memory_consumers_destroy(engine->memory_consumers);
    engine_free(engine);
}

static bool rdb_log_short(const struct engine *base)
{
    return CONTAINER_OF(base, const struct rdb_engine, engine)->log_short;
}

static const struct engine_class rdb_engine_class = {
    .name = "rocksdb",
    .store = rdb_store,
    .create_partitions = rdb_create_partitions,
    .close = rdb_close,
    .figures = rdb_figures,
    .log_short = rdb_log_short,
};

/* Compares what recovery has found with what was acknowledged. */
static enum err open_mark(struct rdb_engine *engine, const struct reason *why)
{
    bool damaged = false;
    uint64_t recovered = rocksdb_get_latest_sequence_number(engine->db);
    if (rdb_mark_open(&engine->mark, engine->directory, &damaged) != OK)
        return explain(why, ERR_IO,
                       "the acknowledgement mark in %s cannot be opened: %s; check the owner and "
                       "the rights of the file ack-mark, and the disk",
                       engine->directory, strerror(errno));
    engine->log_short = damaged || recovered < engine->mark.sequence;
    if (engine->log_short)
        log_write(engine->options.log, LOG_ERROR, "store_log_short",
                  "directory=%s recovered=%llu acknowledged=%llu mark=%s what_now=\"the disk has "
                  "lost writes that were acknowledged: all vnodes are emptied and filled from the "
                  "other nodes; check the disk\"",
                  engine->directory, (unsigned long long)recovered,
                  (unsigned long long)engine->mark.sequence, damaged ? "damaged" : "good");
    return OK;
}

static struct rdb_engine *engine_new(const struct engine_options *options)
{
    struct rdb_engine *engine = calloc(1, sizeof *engine);
    CHECK(engine != NULL);
    engine->engine.class = &rdb_engine_class;
    engine->options = *options;
    engine->directory = strdup(options->directory);
    CHECK(engine->directory != NULL);
    engine->options.directory = engine->directory;
    engine->mark.fd = -1;
    engine->plan = rdb_plan(options->memory_bytes, options->partitions);
    CHECK(pthread_mutex_init(&engine->families_mutex, NULL) == 0);
    CHECK(pthread_mutex_init(&engine->figures_mutex, NULL) == 0);
    rdb_options_init(engine);
    return engine;
}

static void start_handles(struct rdb_engine *engine)
{
    size_t size = engine->options.handle_count * sizeof *engine->handles;
    engine->handles = aligned_alloc(_Alignof(struct rdb_handle), size);
    CHECK(engine->handles != NULL);
    memset(engine->handles, 0, size);
    for (uint32_t i = 0; i < engine->options.handle_count; i++)
        rdb_handle_init(&engine->handles[i], engine, i);
}

enum err engine_rocksdb_open(const struct engine_options *options, struct engine **ret_engine,
                             char *why, size_t why_size)
{
    CHECK_U64(options->handle_count, >, 0);
    CHECK_U64(options->partitions, >, 0);
    CHECK_U64(options->periodic_sync_ms, >, 0);
    CHECK_U64(options->memory_bytes, >=, MEMORY_BYTES_MIN);
    CHECK_U64(why_size, >, 0);
    struct reason reason = {.text = why, .size = why_size};
    enum err err = prepare_directory(options->directory, &reason);
    if (err != OK)
        return err;
    struct rdb_engine *engine = engine_new(options);
    err = open_database(engine, &reason);
    if (err == OK)
        err = open_mark(engine, &reason);
    if (err == OK)
        err = keep_sequence(engine, &reason);
    if (err == OK)
        err = fix_settings(engine, &reason);
    if (err != OK) {
        engine_free(engine);
        return err;
    }
    engine->memory_consumers = rocksdb_memory_consumers_create();
    rocksdb_memory_consumers_add_db(engine->memory_consumers, engine->db);
    rocksdb_memory_consumers_add_cache(engine->memory_consumers, engine->cache);
    start_handles(engine);
    rdb_look_at_space(engine);
    rdb_compactor_start(engine);
    rdb_syncer_start(engine);
    *ret_engine = &engine->engine;
    return OK;
}
