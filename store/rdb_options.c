#include "store/rdb.h"

#include <stdio.h>
#include <sys/resource.h>

#define KIB 1024ull
#define MIB (1024 * KIB)

enum { CHECKSUM_XXH3 = 4, LEVELS = 7, BLOOM_BITS = 10, INFO_LOG_WARN = 2 };

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* A memtable holds at least one arena block, and when families * block comes near the budget
 * RocksDB flushes tiny memtables without end: so a block is at most 1/16 of a family's share. The
 * log is as long as the memtables, because a restart replays all of it (about 4 us a record). */
struct rdb_plan rdb_plan(uint64_t memory_bytes, uint32_t partitions)
{
    uint64_t write_buffers = memory_bytes / 4;
    uint64_t families = (uint64_t)partitions + 3;
    uint64_t arena_block = write_buffers / (16 * families);
    return (struct rdb_plan){
        .cache_bytes = memory_bytes / 2,
        .write_buffers_bytes = write_buffers,
        .write_buffer_bytes = clamp(write_buffers / 4, 1 * MIB, 16 * MIB),
        .arena_block_bytes = clamp(arena_block - arena_block % (4 * KIB), 4 * KIB, 64 * KIB),
        .wal_bytes_max = write_buffers,
        .memtable_bytes_max = memory_bytes / 2,
        .free_disk_bytes_min = 4 * write_buffers,
    };
}

/* A third of what the process may open: the rest is for connections. */
static int open_files_max(void)
{
    struct rlimit limit = {0};
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    return (int)clamp(limit.rlim_cur / 3, 64, 2000);
}

static void set_table_options(struct rdb_engine *engine)
{
    rocksdb_block_based_table_options_t *table = engine->table_options;
    rocksdb_block_based_options_set_block_cache(table, engine->cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_checksum(table, CHECKSUM_XXH3);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_options_set_block_based_table_factory(engine->db_options, table);
}

static void set_memory_options(struct rdb_engine *engine)
{
    rocksdb_options_t *options = engine->db_options;
    const struct rdb_plan *plan = &engine->plan;
    rocksdb_options_set_db_write_buffer_size(options, plan->write_buffers_bytes);
    rocksdb_options_set_write_buffer_size(options, plan->write_buffer_bytes);
    rocksdb_options_set_arena_block_size(options, plan->arena_block_bytes);
    rocksdb_options_set_max_write_buffer_number(options, 4);
    rocksdb_options_set_max_total_wal_size(options, plan->wal_bytes_max);
    rocksdb_options_set_max_open_files(options, open_files_max());
}

/* One stalled family delays them all, so level 0 may grow a little before that happens. Level 0 is
 * rewritten soon: compressing it would only cost. */
static void set_compaction_options(rocksdb_options_t *options)
{
    static const int compression[LEVELS] = {rocksdb_no_compression,  rocksdb_lz4_compression,
                                            rocksdb_lz4_compression, rocksdb_lz4_compression,
                                            rocksdb_lz4_compression, rocksdb_lz4_compression,
                                            rocksdb_lz4_compression};
    rocksdb_options_set_compression_per_level(options, compression, LEVELS);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    rocksdb_options_set_level0_slowdown_writes_trigger(options, 40);
    rocksdb_options_set_level0_stop_writes_trigger(options, 60);
    rocksdb_options_set_max_background_jobs(options, 2);
}

/* Point-in-time recovery flushes what it replays: what a read shows after a restart is on disk,
 * also when only the page cache had it before. A background error is final: nothing is resumed
 * behind our back after pages may have been dropped. */
static void set_durability_options(rocksdb_options_t *options)
{
    rocksdb_options_set_manual_wal_flush(options, 1);
    rocksdb_options_set_wal_recovery_mode(options, rocksdb_point_in_time_recovery);
    rocksdb_options_set_paranoid_checks(options, 1);
    rocksdb_options_set_recycle_log_file_num(options, 0);
    char *error = NULL;
    rocksdb_get_options_from_string(options, "max_bgerror_resume_count=0", options, &error);
    CHECK(error == NULL);
}

void rdb_options_init(struct rdb_engine *engine)
{
    engine->db_options = rocksdb_options_create();
    engine->table_options = rocksdb_block_based_options_create();
    engine->cache = rocksdb_cache_create_lru(engine->plan.cache_bytes);
    rocksdb_options_t *options = engine->db_options;
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_skip_stats_update_on_db_open(options, 1);
    rocksdb_options_set_max_file_opening_threads(options, 2);
    rocksdb_options_set_info_log_level(options, INFO_LOG_WARN);
    rocksdb_options_set_keep_log_file_num(options, 4);
    rocksdb_options_set_max_log_file_size(options, 4 * MIB);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    set_durability_options(options);
    set_memory_options(engine);
    set_compaction_options(options);
    set_table_options(engine);

    engine->read_options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(engine->read_options, 1);
    engine->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_no_slowdown(engine->write_options, 1);
}

void rdb_options_deinit(struct rdb_engine *engine)
{
    rocksdb_writeoptions_destroy(engine->write_options);
    rocksdb_readoptions_destroy(engine->read_options);
    rocksdb_options_destroy(engine->db_options);
    rocksdb_block_based_options_destroy(engine->table_options);
    rocksdb_cache_destroy(engine->cache);
}
