// link: coterie_actors coterie_store coterie_codec
/* What an exchange of two real replicas moves, as it is encoded between nodes: next to nothing when
 * they are equal, 64 KiB at most for one key, twice the records for a thousand (goal of the
 * design).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/anti_entropy.h"
#include "actors/replica.h"
#include "rpc/peer_codec.h"
#include "tests/effort.h"
#include "tests/unit/actor_fixture.h"

#include <stdlib.h>

#define SIBLINGS  KEYSPACE_TEST_SIBLINGS
#define SECONDS   (1000 * MS)
#define KEYS      (effort_is_full() ? 50000u : 10000u)
#define PARTITION 5u
#define PEER      2u
#define HOSTS     3u /* two replicas; 0 is the anti-entropy actor of node 1 */

struct cluster {
    struct fixture hosts[HOSTS];
    struct boot boots[HOSTS];
    struct replica *replicas[HOSTS];
    struct anti_entropy *ae;
    char (*keys)[16];
    uint64_t peer_bytes;
    uint64_t peer_messages;
};

/* Keys that fall into the partition; a search of a second, so done once. */
static char (*all_keys)[16];

static int find_keys(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 2, 1);
    all_keys = calloc(KEYS, sizeof all_keys[0]);
    for (uint32_t count = 0, i = 0; count < KEYS; i++) {
        snprintf(all_keys[count], sizeof all_keys[0], "key-%u", i);
        count += test_partition(&f, SIBLINGS, all_keys[count]) == PARTITION;
    }
    fixture_deinit(&f);
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    free(all_keys);
    return 0;
}

static struct bytes store_key(struct fixture *f, const char *key, uint8_t *memory)
{
    uint32_t id = f->keyspace_ids[SIBLINGS];
    struct bytes name = bytes_of_string(key);
    return bytes_of(memory, hash_storage_key(id, name, hash_key(id, name), memory));
}

/* A write on top of what the store has, before the replica runs. */
static size_t put(struct cluster *c, uint32_t host, uint32_t key, uint32_t writer, char letter)
{
    struct fixture *f = &c->hosts[host];
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    char value[101];
    memset(value, letter, 100);
    value[100] = 0;
    struct bytes row_key = store_key(f, all_keys[key], memory);
    struct bytes old_record;
    struct version_set old = {0};
    if (store_read(f->ctx.store, PARTITION, row_key, &f->arena, &old_record) == OK)
        old = test_decode(f, SIBLINGS, all_keys[key], old_record);
    struct version_set set = test_write(f, &old, NULL, writer, 7, value);
    struct bytes record = test_record(f, SIBLINGS, all_keys[key], &set);
    assert_int_equal(store_put(f->ctx.store, PARTITION, row_key, record, STORE_SYNC_NOW), OK);
    return record.size;
}

static void cluster_init(struct cluster *c)
{
    memset(c, 0, sizeof *c);
    for (uint32_t host = 0; host < HOSTS; host++) {
        struct fixture *f = &c->hosts[host];
        fixture_init(f, 2, 1);
        if (host == PEER) {
            view_unref(f->view);
            f->view = view_new(&f->topology, &f->map, PEER);
            f->ctx.view = f->view;
        }
        for (uint32_t i = 0; i < KEYS && host > 0; i++)
            put(c, host, i, 1, 'o');
    }
}

static void cluster_start(struct cluster *c)
{
    for (uint32_t host = 1; host < HOSTS; host++) {
        struct fixture *f = &c->hosts[host];
        struct boot_options options = {.topology = &f->topology,
                                       .self = host,
                                       .random_id = {(uint8_t)host},
                                       .shards = 1,
                                       .epoch_lease = 1000,
                                       .wall_ms = WALL_MS};
        char why[256];
        engine_memory_sync(f->engine, engine_memory_mark(f->engine));
        assert_int_equal(boot_node(engine_store(f->engine, HANDLE_BOOT), &f->arena, &options,
                                   &c->boots[host], why, sizeof why),
                         OK);
        struct replica_options replica = {.self = host, .shard = 0, .shards = 1, .held_max = 16384};
        c->replicas[host] = replica_new(&replica, &c->boots[host]);
        f->actor = replica_actor(c->replicas[host]);
    }
    struct anti_entropy_options options = anti_entropy_options_default(SELF, 1, 16);
    options.interval_ns = 1000000 * SECONDS;
    c->ae = anti_entropy_new(&options);
    c->hosts[0].actor = anti_entropy_actor(c->ae);
}

static void cluster_deinit(struct cluster *c)
{
    anti_entropy_free(c->ae);
    for (uint32_t host = 0; host < HOSTS; host++) {
        if (c->replicas[host] != NULL)
            replica_free(c->replicas[host]);
        fixture_deinit(&c->hosts[host]);
    }
}

static void deliver(struct cluster *c, struct message *message)
{
    bool crosses = message->from.node != message->to.node;
    uint32_t host = message->to.kind == ACTOR_ANTI_ENTROPY ? 0 : message->to.node;
    if (message->kind == MESSAGE_reap_scan || message->kind == MESSAGE_vnode_incomplete) {
        message_free(message);
        return;
    }
    if (crosses) {
        size_t bytes = peer_frame_message_size(message, c->hosts[0].ctx.now_ns);
        assert_true(bytes > 0);
        c->peer_bytes += bytes;
        c->peer_messages++;
    }
    fixture_handle(&c->hosts[host], message);
}

/* A millisecond: everybody's mail, time and disk. */
static void cluster_pass(struct cluster *c)
{
    for (uint32_t host = 0; host < HOSTS; host++) {
        struct fixture *f = &c->hosts[host];
        struct message *message;
        while ((message = outbox_take(&f->outbox)) != NULL)
            deliver(c, message);
    }
    for (uint32_t host = 0; host < HOSTS; host++) {
        fixture_sync(&c->hosts[host]);
        fixture_pass(&c->hosts[host], MS);
    }
}

/* One exchange of the partition, from when the trees are built. */
static struct anti_entropy_proof exchange(struct cluster *c)
{
    const struct anti_entropy_figures *figures = anti_entropy_figures(c->ae);
    struct anti_entropy_proof proof;
    struct message *message = message_new(MESSAGE_range_dirty, 0);
    for (uint32_t i = 0; i < 3000; i++) /* 50,000 rows in slices of 512, every 4 ms */
        cluster_pass(c);
    message->range_dirty = (struct range_dirty){.partition = PARTITION, .member = PEER};
    c->peer_bytes = c->peer_messages = 0;
    fixture_handle(&c->hosts[0], message);
    for (uint32_t i = 0; i < 60000 && counter_get(&figures->dirty) != 0; i++)
        cluster_pass(c);
    assert_int_equal(counter_get(&figures->exchanges), 1);
    assert_int_equal(counter_get(&figures->dirty), 0);
    assert_true(anti_entropy_proof(c->ae, PARTITION, PEER, &proof));
    assert_int_equal(proof.state, ANTI_ENTROPY_IDENTICAL);
    return proof;
}

struct rows {
    struct fixture *other;
    uint32_t count;
};

static bool same_row(void *closure, struct bytes key, struct bytes value)
{
    struct rows *rows = closure;
    struct bytes other;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_int_equal(store_read(rows->other->ctx.store, PARTITION, key, &arena, &other), OK);
    assert_true(bytes_equal(value, other));
    rows->count++;
    arena_deinit(&arena);
    return true;
}

static void expect_same_rows(struct cluster *c, uint32_t count)
{
    for (uint32_t host = 1; host < HOSTS; host++) {
        struct rows rows = {.other = &c->hosts[3 - host]};
        assert_int_equal(store_scan(c->hosts[host].ctx.store, PARTITION, (struct bytes){0},
                                    (struct bytes){0}, same_row, &rows),
                         OK);
        assert_int_equal(rows.count, count);
    }
}

static void equal_replicas_cost_two_messages(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c);
    cluster_start(&c);
    exchange(&c);
    print_message("equal: %llu bytes in %llu messages\n", (unsigned long long)c.peer_bytes,
                  (unsigned long long)c.peer_messages);
    assert_int_equal(c.peer_messages, 2);
    assert_true(c.peer_bytes < 200);
    cluster_deinit(&c);
}

/* The whole of what a single key costs, whoever has it. */
static void one_key_costs_little(void **state)
{
    (void)state;
    for (uint32_t host = 1; host < HOSTS; host++) {
        struct cluster c;
        cluster_init(&c);
        put(&c, host, 777, host, 'n');
        cluster_start(&c);
        struct anti_entropy_proof proof = exchange(&c);
        print_message("one key, newer on %u: %llu bytes in %llu messages (counted %llu)\n", host,
                      (unsigned long long)c.peer_bytes, (unsigned long long)c.peer_messages,
                      (unsigned long long)proof.bytes_moved);
        assert_int_equal(proof.keys_repaired, 1);
        assert_true(c.peer_bytes <= 64 * 1024);
        /* What the actor counts is what the wire sees, but for some bytes of each message. */
        assert_in_range(proof.bytes_moved, c.peer_bytes * 7 / 10, c.peer_bytes * 13 / 10);
        expect_same_rows(&c, KEYS);
        cluster_deinit(&c);
    }
}

/* A thousand: newer on either side, missing on either, or written on both. */
static void a_thousand_cost_twice_their_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"newer on 1", "newer on 2", "half and half", "concurrent"};
    for (uint32_t kind = 0; kind < ARRAY_COUNT(names); kind++) {
        struct cluster c;
        uint64_t differing = 0;
        cluster_init(&c);
        for (uint32_t i = 0; i < 1000; i++) {
            uint32_t key = i * (KEYS / 1000);
            uint32_t host = kind < 2 ? kind + 1 : 1 + i % 2;
            differing += put(&c, host, key, host, 'n');
            if (kind == 3)
                differing += put(&c, 3 - host, key, 3 - host, 'm');
        }
        cluster_start(&c);
        exchange(&c);
        print_message("1000 keys, %s: %llu bytes in %llu messages, %.2f x of %llu\n", names[kind],
                      (unsigned long long)c.peer_bytes, (unsigned long long)c.peer_messages,
                      (double)c.peer_bytes / (double)differing, (unsigned long long)differing);
        assert_true(c.peer_bytes <= 2 * differing);
        expect_same_rows(&c, KEYS);
        cluster_deinit(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_replicas_cost_two_messages),
        cmocka_unit_test(one_key_costs_little),
        cmocka_unit_test(a_thousand_cost_twice_their_bytes),
    };
    return cmocka_run_group_tests(tests, find_keys, free_keys);
}
