/* one_key_bench.h -- the key and the ways of its partition from one set to another that tests of
 * coordinators under changes of the topology share. */
#ifndef TESTS_UNIT_ONE_KEY_BENCH_H
#define TESTS_UNIT_ONE_KEY_BENCH_H

#include "tests/unit/put_bench.h"

#define SIBLINGS KEYSPACE_TEST_SIBLINGS
#define KEY      "k"
#define RECORD   bytes_of_string("record")

static const struct walks one_replaced = {{1, 2, 3, 5, 6}, {1, 2, 4, 5, 6}};
static const struct walks all_others = {{1, 2, 3, 7}, {4, 5, 6, 7}};
static const struct walks one_stays = {{1, 2, 3, 6}, {1, 4, 5, 6}};

static inline void change(struct bench *b, const struct walks *walks, enum partition_phase phase,
                          uint64_t epoch)
{
    bench_change(b, SIBLINGS, KEY, walks, phase, epoch);
}

static inline void begin(struct bench *b, const struct walks *walks, enum partition_phase phase,
                         uint64_t epoch)
{
    bench_init(b, 7, 1);
    change(b, walks, phase, epoch);
}

#endif
