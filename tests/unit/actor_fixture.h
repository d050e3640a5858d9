/* actor_fixture.h -- one actor under test: a view of a small cluster, a simulated disk, a clock
 * that the test moves, and an outbox that it reads. Everything else that the actor talks to is the
 * test.
 */
#ifndef TESTS_UNIT_ACTOR_FIXTURE_H
#define TESTS_UNIT_ACTOR_FIXTURE_H

#include "actors/actor.h"
#include "actors/boot.h"
#include "model/hash.h"
#include "model/record.h"
#include "store/engine.h"

#include <stdio.h>

#define MS      ((uint64_t)1000 * 1000)
#define WALL_MS 1800000000000u
#define SELF    1u

enum { HANDLE_ACTOR, HANDLE_BOOT, HANDLE_COUNT };

enum test_keyspace {
    KEYSPACE_TEST_SIBLINGS,
    KEYSPACE_TEST_LWW,
    KEYSPACE_TEST_PERIODIC,
    KEYSPACE_TEST_STRONG,
    KEYSPACE_TEST_STRICT,
    KEYSPACE_TEST_COUNT
};

struct fixture {
    struct arena arena;
    struct topology topology;
    struct keyspace_map map;
    uint32_t keyspace_ids[KEYSPACE_TEST_COUNT];
    struct view *view;
    struct memory_disk *disk;
    struct engine *engine;
    uint64_t committed[HANDLE_COUNT];
    uint64_t committed_told;
    struct prng prng;
    struct outbox outbox;
    struct actor_context ctx;
    struct actor *actor;
};

static inline void fixture_on_committed(void *host, uint32_t handle, uint64_t sequence)
{
    ((struct fixture *)host)->committed[handle] = sequence;
}

static inline struct topology fixture_topology(struct arena *arena, uint32_t members,
                                               uint32_t centers, uint32_t partitions,
                                               uint32_t port_base)
{
    struct topology_seed seeds[MEMBERS_MAX] = {0};
    struct topology topology;
    const char *why = NULL;
    for (uint32_t i = 0; i < members; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "n%02u", i + 1);
        snprintf(seeds[i].address, sizeof seeds[i].address, "127.0.0.1:%u", port_base + i);
        snprintf(seeds[i].data_center, sizeof seeds[i].data_center, "dc%u", i % centers);
    }
    assert_int_equal(topology_initial(arena, seeds, members, partitions, &topology, &why), OK);
    return topology;
}

static inline void fixture_add_keyspace(struct fixture *f, enum test_keyspace index,
                                        struct keyspace keyspace)
{
    keyspace.created_at = keyspace.changed_at = 1 + index;
    keyspace.id = keyspace_id(keyspace.name, keyspace.created_at);
    f->map = keyspace_map_put(&f->arena, &f->map, &keyspace);
    f->keyspace_ids[index] = keyspace.id;
}

static inline void fixture_open_store(struct fixture *f)
{
    struct engine_options options = {.handle_count = HANDLE_COUNT,
                                     .partitions = f->topology.partitions,
                                     .committed = fixture_on_committed,
                                     .host = f};
    f->engine = engine_memory_open(&options, f->disk);
    f->ctx.store = engine_store(f->engine, HANDLE_ACTOR);
    f->committed[HANDLE_ACTOR] = f->committed[HANDLE_BOOT] = f->committed_told = 0;
}

static inline void fixture_init(struct fixture *f, uint32_t members, uint32_t centers)
{
    memset(f, 0, sizeof *f);
    arena_init(&f->arena, NULL, 0);
    f->topology = fixture_topology(&f->arena, members, centers, 16, 7701);
    struct keyspace lww = keyspace_default("lww");
    struct keyspace periodic = keyspace_default("periodic");
    struct keyspace strong = keyspace_default("strong");
    lww.conflict = KEYSPACE_LWW;
    periodic.durability = KEYSPACE_PERIODIC;
    struct keyspace strict = keyspace_default("strict");
    strong.mode = KEYSPACE_CONSISTENT;
    strict.strict = true;
    fixture_add_keyspace(f, KEYSPACE_TEST_SIBLINGS, keyspace_default("siblings"));
    fixture_add_keyspace(f, KEYSPACE_TEST_LWW, lww);
    fixture_add_keyspace(f, KEYSPACE_TEST_PERIODIC, periodic);
    fixture_add_keyspace(f, KEYSPACE_TEST_STRONG, strong);
    fixture_add_keyspace(f, KEYSPACE_TEST_STRICT, strict);
    f->view = view_new(&f->topology, &f->map, SELF);
    f->disk = memory_disk_new();
    prng_init(&f->prng, 1, 1);
    outbox_init(&f->outbox);
    f->ctx = (struct actor_context){.now_ns = 1000 * MS,
                                    .wall_ms = WALL_MS,
                                    .prng = &f->prng,
                                    .view = f->view,
                                    .outbox = &f->outbox};
    fixture_open_store(f);
}

/* Everything but the actor, which the test frees. */
static inline void fixture_deinit(struct fixture *f)
{
    struct message *message;
    while ((message = outbox_take(&f->outbox)) != NULL)
        message_free(message);
    engine_close(f->engine);
    memory_disk_free(f->disk);
    view_unref(f->view);
    arena_deinit(&f->arena);
}

/* -- driving the actor ---------------------------------------------------------------------------
 */

static inline void fixture_handle(struct fixture *f, struct message *message)
{
    actor_handle(f->actor, &f->ctx, message);
    actor_check(f->actor);
}

static inline void fixture_tick(struct fixture *f)
{
    actor_tick(f->actor, &f->ctx);
    actor_check(f->actor);
}

/* Moves the clocks; ticks when the actor wanted that by then. */
static inline void fixture_pass(struct fixture *f, uint64_t ns)
{
    f->ctx.now_ns += ns;
    f->ctx.wall_ms += ns / MS;
    if (actor_wake_at_ns(f->actor) <= f->ctx.now_ns)
        fixture_tick(f);
}

/* The log is durable up to `mark`, and the actor hears of it. */
static inline void fixture_sync_to(struct fixture *f, uint64_t mark)
{
    engine_memory_sync(f->engine, mark);
    if (f->actor == NULL || f->committed[HANDLE_ACTOR] == f->committed_told)
        return;
    f->committed_told = f->committed[HANDLE_ACTOR];
    struct message *message = message_new(MESSAGE_store_committed, 0);
    message->store_committed.sequence = f->committed[HANDLE_ACTOR];
    fixture_handle(f, message);
}

static inline void fixture_sync(struct fixture *f)
{
    fixture_sync_to(f, engine_memory_mark(f->engine));
}

/* A crash that loses all that is not durable, or keeps all of it; a new engine on the same disk. */
static inline void fixture_crash(struct fixture *f, bool keep)
{
    struct prng prng;
    for (uint64_t seed = 0;; seed++) {
        /* engine_memory_crash draws twice, then one in four is "all" or "none". */
        prng_init(&prng, seed, 0);
        struct prng ahead = prng;
        prng_u64(&ahead);
        prng_u64(&ahead);
        if (prng_below(&ahead, 4) == 0)
            break;
    }
    engine_memory_crash(f->engine, keep ? CRASH_PROCESS : CRASH_POWER, &prng);
    fixture_open_store(f);
}

/* Each emptied vnode tells of its keyspaces of registers that it does not vote in them. Only those
 * tests look at it that expect it. */
static inline void fixture_pass_over_votes(struct fixture *f)
{
    while (f->outbox.first != NULL && f->outbox.first->kind == MESSAGE_vnode_incomplete &&
           f->outbox.first->vnode_incomplete.votes)
        message_free(outbox_take(&f->outbox));
}

/* The next message that left; the caller's to free. */
static inline struct message *fixture_take(struct fixture *f, enum message_kind kind)
{
    if (kind != MESSAGE_vnode_incomplete)
        fixture_pass_over_votes(f);
    struct message *message = outbox_take(&f->outbox);
    assert_non_null(message);
    if (message->kind != kind)
        fail_msg("expected %s, got %s", message_kind_text(kind), message_kind_text(message->kind));
    return message;
}

static inline void fixture_silent(struct fixture *f)
{
    fixture_pass_over_votes(f);
    if (f->outbox.first != NULL)
        fail_msg("nothing should have left, but %s did", message_kind_text(f->outbox.first->kind));
}

static inline void fixture_set_liveness(struct fixture *f, uint32_t member, enum liveness liveness)
{
    const struct member *found = topology_member(&f->view->topology, member);
    assert_non_null(found);
    f->view->members[found - f->view->topology.members].liveness = liveness;
}

/* Whether this life of the node has heard which keyspaces the member knows. */
static inline void fixture_set_heard(struct fixture *f, uint32_t member, bool heard)
{
    const struct member *found = topology_member(&f->view->topology, member);
    assert_non_null(found);
    f->view->members[found - f->view->topology.members].unheard = !heard;
}

/* The next view, with or without one of the keyspaces. Nobody is down in it. */
static inline void fixture_show_keyspaces(struct fixture *f, enum test_keyspace index, bool known)
{
    struct keyspace_map map = {0};
    for (uint32_t i = 0; i < f->map.count; i++) {
        if (known || f->map.keyspaces[i].id != f->keyspace_ids[index])
            map = keyspace_map_put(&f->arena, &map, &f->map.keyspaces[i]);
    }
    struct view *view = view_new(&f->topology, &map, SELF);
    view->version = f->view->version + 1;
    view_unref(f->view);
    f->view = view;
    f->ctx.view = view;
}

static inline struct actor_id actor_id_of(uint32_t node, enum actor_kind kind)
{
    return (struct actor_id){.node = node, .kind = (uint8_t)kind};
}

/* -- records --------------------------------------------------------------------------------- */

static inline struct version test_version(const char *value, uint64_t written_at)
{
    return (struct version){.written_at = written_at, .value = bytes_of_string(value)};
}

/* A record in the fixture's arena: `set` with one more write of (member, epoch). context NULL:
 * replaces all. */
static inline struct version_set test_write(struct fixture *f, const struct version_set *set,
                                            const struct clock *context, uint32_t member,
                                            uint64_t epoch, const char *value)
{
    struct version version = test_version(value, (uint64_t)WALL_MS << 16);
    struct dot dot;
    return version_set_put(&f->arena, set, context, member, epoch, &version, &dot);
}

static inline struct bytes test_record(struct fixture *f, enum test_keyspace keyspace,
                                       const char *key, const struct version_set *set)
{
    return record_encode(&f->arena, f->keyspace_ids[keyspace], bytes_of_string(key), set);
}

static inline struct version_set test_decode(struct fixture *f, enum test_keyspace keyspace,
                                             const char *key, struct bytes record)
{
    struct version_set set;
    assert_int_equal(record_decode(&f->arena, f->keyspace_ids[keyspace], bytes_of_string(key),
                                   arena_copy(&f->arena, record), &set),
                     OK);
    return set;
}

static inline struct bytes test_clock_bytes(struct fixture *f, const struct clock *clock)
{
    struct writer writer;
    writer_init(&writer, &f->arena, 64);
    clock_encode(&writer, clock);
    return writer_result(&writer);
}

static inline struct clock test_clock(struct fixture *f, struct bytes bytes)
{
    struct clock clock;
    struct bytes copy = arena_copy(&f->arena, bytes);
    struct reader reader = reader_of(copy);
    assert_int_equal(clock_decode(&reader, &f->arena, &clock), OK);
    assert_true(reader_done(&reader));
    return clock;
}

static inline bool test_holds(const struct version_set *set, const char *value)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (bytes_equal(set->versions[i].value, bytes_of_string(value)))
            return true;
    }
    return false;
}

static inline uint32_t test_partition(const struct fixture *f, enum test_keyspace keyspace,
                                      const char *key)
{
    return hash_partition(hash_key(f->keyspace_ids[keyspace], bytes_of_string(key)),
                          f->topology.partitions);
}

#endif
