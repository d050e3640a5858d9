// link: coterie_rpc coterie_store
/* Who may be behind a link: peers that should not talk are refused with a sentence, and no link
 * carries a message before the other's row is durable (DESIGN.md 9, RELIABILITY.md 2).
 */
#include "actors/boot.h"
#include "peers_fixture.h"

#include <stdlib.h>

/* Node 2 with something wrong calls node 1, which calls back: both say why, nobody is connected. */
static void check_refusal(struct node_options wrong, const char *part)
{
    struct node *a = node_start_plain(1);
    struct node *b = node_start(&wrong);
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(totals_of(a).refused >= 2 && totals_of(b).refused >= 2);
    WAIT_FOR(refused_with(a, part));
    WAIT_FOR(refused_with(b, part));
    assert_false(figures_of(a, 2).connected);
    assert_false(figures_of(a, 2).serving);
    assert_int_equal(atomic_load(&a->ups[2]), 0);
    assert_int_equal(totals_of(a).accepted, 0);
    node_stop(a, 0);
    node_stop(b, 0);
}

static void test_refusals(void **state)
{
    (void)state;
    check_refusal((struct node_options){.member = 2, .cluster = 1}, "two different clusters");
    check_refusal((struct node_options){.member = 2, .protocol = 9}, "no version in common");
    check_refusal((struct node_options){.member = 2, .partitions = 128}, "partitions are");
    check_refusal((struct node_options){.member = 2, .identity = 1}, "data directory was copied");
}

static void test_wrong_member_behind_an_address(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *c = node_start_plain(3);
    node_connect(a, a->port, c->port, NOWHERE); /* believes that b is where c is */
    node_connect(c, a->port, NOWHERE, c->port);
    WAIT_FOR(refused_with(a, "meant for member 2, but this is member 3"));
    WAIT_FOR(refused_with(c, "meant for member 2"));
    assert_false(figures_of(a, 2).connected);
    /* c itself is where it says it is. */
    WAIT_FOR(figures_of(c, 1).connected);
    /* A corrected address is used at once. */
    node_connect(a, a->port, NOWHERE, c->port);
    WAIT_FOR(linked(a, c));
    node_stop(a, 0);
    node_stop(c, 0);
}

/* A document of these members; all numbers below `number_next` that are not listed were removed. */
static void node_connect_members(struct node *node, uint64_t epoch, uint32_t number_next,
                                 const uint32_t *numbers, const int *ports, uint32_t count)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology = topology_at(&arena, "127.0.0.1", (const int[]){1, 2, 3});
    struct member *members = ARENA_NEW(&arena, struct member, count);
    for (uint32_t i = 0; i < count; i++) {
        members[i] = topology.members[0];
        members[i].number = numbers[i];
        members[i].slot = (uint8_t)i;
        snprintf(members[i].name, sizeof members[i].name, "m%u", numbers[i]);
        snprintf(members[i].address, sizeof members[i].address, "127.0.0.1:%d", ports[i]);
    }
    topology.epoch = epoch;
    topology.number_next = number_next;
    topology.members = members;
    topology.member_count = count;
    rpc_peers_connect(node->peers, &topology);
    arena_deinit(&arena);
}

/* One that a node has not heard of yet comes again, and is linked when its document has come. */
static void test_a_member_that_is_not_known_yet(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *d = node_start_plain(7);
    node_connect_members(a, 3, 7, (const uint32_t[]){1}, (const int[]){a->port}, 1);
    node_connect_members(d, 4, 8, (const uint32_t[]){1, 7}, (const int[]){a->port, d->port}, 2);
    WAIT_FOR(totals_of(a).verdicts[IDENTITY_UNKNOWN] > 1);
    assert_false(figures_of(d, 1).connected);
    assert_int_equal(told_of(d).action, IDENTITY_PROCEED); /* its life goes on */
    assert_int_equal(totals_of(a).refused + totals_of(d).refused, 0);
    node_connect_members(a, 4, 8, (const uint32_t[]){1, 7}, (const int[]){a->port, d->port}, 2);
    WAIT_FOR(linked(a, d));
    node_stop(d, 0);
    node_stop(a, 0);
}

/* Two epochs are no reason to refuse one another: the hello tells who is behind, whose gossip is
 * told to fetch the newer document at once. */
static void test_a_newer_epoch_is_told_by_the_hello(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    const uint32_t both[] = {1, 2};
    const int ports[] = {a->port, b->port};
    node_connect_members(b, 9, 3, both, ports, 2);
    node_connect_members(a, 4, 3, both, ports, 2);
    WAIT_FOR(linked(a, b));
    WAIT_FOR(atomic_load(&a->epoch_heard[2]) == 9);
    assert_int_equal(atomic_load(&b->epoch_heard[1]), 0);
    assert_int_equal(totals_of(a).refused + totals_of(b).refused, 0);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* RELIABILITY rule 31: who was removed does not come back; it is told so, and its links end. */
static void test_a_member_that_was_removed(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    const uint32_t both[] = {1, 2};
    const int ports[] = {a->port, b->port};
    node_connect_members(a, 1, 3, both, ports, 2);
    node_connect_members(b, 1, 3, both, ports, 2);
    WAIT_FOR(linked(a, b));
    node_connect_members(a, 5, 3, both, ports, 1);
    WAIT_FOR(told_of(b).action == IDENTITY_STOP);
    assert_int_equal(told_of(b).verdict, IDENTITY_REMOVED);
    assert_false(figures_of(a, 2).connected);
    WAIT_FOR(!figures_of(a, 2).serving);
    WAIT_FOR(refused_with(a, "member 2 was removed from the cluster"));
    /* An older document than the one in force changes nothing. */
    node_connect_members(a, 4, 3, both, ports, 2);
    assert_false(figures_of(a, 2).connected);
    node_stop(b, 0);
    /* Nor is another process of it let in, under whatever id. */
    b = node_start(&(struct node_options){.member = 2, .identity = 9});
    node_connect_members(b, 1, 3, both, (const int[]){a->port, b->port}, 2);
    WAIT_FOR(told_of(b).verdict == IDENTITY_REMOVED);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* Identity is not the address: a member that has moved is reached where it says it is, although the
 * topology still says otherwise, and where the topology says from its next word on. */
static void test_a_member_that_has_moved(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    int port = b->port;
    node_stop(b, 0);
    b = node_start(&(struct node_options){.member = 2, .port = port, .says_address = true});
    const uint32_t both[] = {1, 2};
    node_connect_members(a, 1, 3, both, (const int[]){a->port, NOWHERE}, 2);
    node_connect_members(b, 1, 3, both, (const int[]){a->port, NOWHERE}, 2);
    WAIT_FOR(linked(a, b));
    /* A newer document with the same address changes nothing. */
    node_connect_members(a, 2, 3, both, (const int[]){a->port, NOWHERE}, 2);
    ask(a, 2, 0, 1, 8);
    WAIT_FOR(atomic_load(&a->answers) == 1);
    node_connect_members(a, 3, 3, both, (const int[]){a->port, b->port}, 2);
    WAIT_FOR(linked(a, b));
    node_connect_members(a, 4, 3, both, (const int[]){a->port, NOWHERE + 1}, 2);
    WAIT_FOR(!figures_of(a, 2).connected);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* Numbers are never used again: over time there are more of them than a cluster has members. */
static void test_more_members_over_time_than_at_once(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *z = node_start_plain(6);
    for (uint32_t round = 0; round < 3 * MEMBERS_MAX; round++) {
        const uint32_t numbers[] = {1, 100 + round, 1000 + round};
        const int ports[] = {a->port, NOWHERE, NOWHERE};
        node_connect_members(a, 10 + round, 2000, numbers, ports, 3);
        if (round % 32 == 0)
            WAIT_FOR(rpc_peers_settled(a->peers));
    }
    const uint32_t last[] = {1, 6};
    const int ports[] = {a->port, z->port};
    node_connect_members(z, 5000, 2000, last, ports, 2);
    WAIT_FOR((node_connect_members(a, 5000, 2000, last, ports, 2), linked(a, z)));
    ask(a, 6, 0, 1, 8);
    WAIT_FOR(atomic_load(&a->answers) == 1);
    node_stop(z, 0);
    node_stop(a, 0);
}

static void test_own_number(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    node_connect(a, a->port, NOWHERE, NOWHERE);
    /* A second member 1: it looks for b at a's port. */
    struct node *twin = node_start(&(struct node_options){.member = 1, .identity = 9});
    node_connect(twin, twin->port, a->port, NOWHERE);
    WAIT_FOR(refused_with(a, "both nodes say that they are member 1"));
    WAIT_FOR(refused_with(twin, "both nodes say that they are member 1"));
    node_stop(twin, 0);
    node_stop(a, 0);
}

/* RELIABILITY rule 29: two processes of one member must not run. Whether the first still does is
 * asked of it, on the link that is up. */
static void test_duplicate_identity(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start_plain(2);
    int port = b->port;
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(linked(a, b));
    struct node *twin = node_start(&(struct node_options){.member = 2, .identity = 9});
    node_connect(twin, a->port, twin->port, NOWHERE);
    WAIT_FOR(refused_with(a, "duplicate identity"));
    WAIT_FOR(refused_with(twin, "duplicate identity"));
    assert_true(linked(a, b));
    assert_false(figures_of(twin, 1).connected);
    WAIT_FOR(told_of(twin).action == IDENTITY_STOP);
    assert_int_equal(told_of(b).action, IDENTITY_PROCEED);
    assert_int_equal(atomic_load(&b->downs[1]), 0); /* it was asked, not disturbed */
    node_stop(twin, 0);
    /* When the first is gone, another id is a directory that was lost, not the member. */
    node_stop(b, 0);
    WAIT_FOR(!figures_of(a, 2).serving);
    twin = node_start(&(struct node_options){.member = 2, .identity = 9, .port = port});
    node_connect(twin, a->port, twin->port, NOWHERE);
    WAIT_FOR(told_of(twin).action == IDENTITY_RENEW);
    assert_int_equal(told_of(twin).verdict, IDENTITY_WIPED);
    assert_int_equal(told_of(twin).known.self.node_id.bytes[0], 2);
    assert_int_equal(told_of(twin).epoch_bound, BOUND);
    assert_false(figures_of(twin, 1).connected);
    assert_false(figures_of(a, 2).serving);
    node_stop(twin, 0);
    /* As the new incarnation that it has become it is the member. */
    twin = node_start(
        &(struct node_options){.member = 2, .identity = 9, .superseded = 2, .port = port});
    node_connect(twin, a->port, twin->port, NOWHERE);
    WAIT_FOR(linked(a, twin));
    assert_int_equal(told_of(twin).action, IDENTITY_PROCEED);
    node_stop(twin, 0);
    /* And the one that it has replaced is not, any more. */
    b = node_start(&(struct node_options){.member = 2, .port = port, .generation = 9});
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(told_of(b).verdict == IDENTITY_WIPED && told_of(b).action == IDENTITY_RENEW);
    /* It is told of the lives before that one too. */
    assert_int_equal(told_of(b).known.superseded_count, 1);
    assert_int_equal(told_of(b).known.superseded[0].bytes[0], 2);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* RELIABILITY rule 30: the same id goes on with a higher generation; the same one again from
 * another process is an older copy. */
static void test_restarted_and_restored(void **state)
{
    (void)state;
    struct node *a = node_start_plain(1);
    struct node *b = node_start(&(struct node_options){.member = 2, .nonce = 5, .generation = 4});
    int port = b->port;
    node_connect(a, a->port, port, NOWHERE);
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(linked(a, b));
    node_stop(b, 0);
    b = node_start(&(struct node_options){.member = 2, .nonce = 6, .generation = 5, .port = port});
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(linked(a, b));
    node_stop(b, 0);
    b = node_start(&(struct node_options){.member = 2, .nonce = 7, .generation = 5, .port = port});
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(told_of(b).verdict == IDENTITY_RESTORED);
    assert_int_equal(told_of(b).known.self.generation, 5);
    assert_false(figures_of(b, 1).connected);
    WAIT_FOR(totals_of(a).verdicts[IDENTITY_RESTORED] > 0);
    node_stop(b, 0);
    node_stop(a, 0);
}

/* -- rows on disk: no link before its row is durable, on neither side ---------------------------
 */

#define META_HANDLES 1u

static struct engine *disk_open(struct memory_disk *memory)
{
    struct engine_options options = {.handle_count = META_HANDLES, .partitions = PARTITIONS};
    return engine_memory_open(&options, memory);
}

static void test_rows_are_durable_before_use(void **state)
{
    (void)state;
    struct memory_disk *memory = memory_disk_new();
    struct engine *disk = disk_open(memory);
    struct store *meta = engine_store(disk, 0);
    struct node *a = node_start(&(struct node_options){.member = 1, .meta = meta});
    struct node *b = node_start_plain(2);
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(totals_of(a).verdicts[IDENTITY_FIRST] > 0);
    /* Longer than a handshake takes: neither direction is up. */
    nanosleep(&(struct timespec){.tv_nsec = 200 * (long)NS_PER_MS}, NULL);
    assert_false(figures_of(a, 2).connected);
    assert_false(figures_of(b, 1).connected);
    assert_int_equal(atomic_load(&a->ups[2]) + atomic_load(&b->ups[1]), 0);
    engine_memory_sync(disk, engine_memory_mark(disk));
    rpc_peers_committed(a->peers, store_committed(meta));
    WAIT_FOR(linked(a, b));
    node_stop(b, 0);
    node_stop(a, 0);
    engine_close(disk);

    /* After a restart of the judge the row counts. */
    disk = disk_open(memory);
    a = node_start(&(struct node_options){.member = 1, .meta = engine_store(disk, 0)});
    b = node_start(&(struct node_options){.member = 2, .identity = 9});
    node_connect(a, a->port, b->port, NOWHERE);
    node_connect(b, a->port, b->port, NOWHERE);
    WAIT_FOR(told_of(b).verdict == IDENTITY_WIPED && told_of(b).action == IDENTITY_RENEW);
    assert_int_equal(told_of(b).known.self.node_id.bytes[0], 2);
    node_stop(b, 0);
    node_stop(a, 0);
    engine_close(disk);
    memory_disk_free(memory);
}

/* -- generations that are raised
 * ------------------------------------------------------------------------------ */

struct directory {
    char path[64];
    struct engine *engine;
    pthread_mutex_t lock;
    struct node *node; /* NULL: it has ended */
};

static void directory_committed(void *host, uint32_t handle, uint64_t sequence)
{
    struct directory *directory = host;
    pthread_mutex_lock(&directory->lock);
    if (directory->node != NULL && handle == 0)
        rpc_peers_committed(directory->node->peers, sequence);
    pthread_mutex_unlock(&directory->lock);
}

static void directory_is_of(struct directory *directory, struct node *node)
{
    pthread_mutex_lock(&directory->lock);
    directory->node = node;
    pthread_mutex_unlock(&directory->lock);
}

/* Of member 2, started once. */
static void directory_make(struct directory *directory)
{
    char why[256] = "";
    struct arena arena;
    struct boot boot;
    *directory = (struct directory){.path = "/tmp/coterie-peers-XXXXXX"};
    assert_non_null(mkdtemp(directory->path));
    assert_int_equal(pthread_mutex_init(&directory->lock, NULL), 0);
    struct engine_options options = {.directory = directory->path,
                                     .handle_count = META_HANDLES,
                                     .partitions = PARTITIONS,
                                     .memory_bytes = 32 * 1024 * 1024,
                                     .periodic_sync_ms = 10,
                                     .committed = directory_committed,
                                     .host = directory};
    assert_int_equal(engine_rocksdb_open(&options, &directory->engine, why, sizeof why), OK);
    arena_init(&arena, NULL, 0);
    struct topology topology = topology_at(&arena, "127.0.0.1", (const int[]){1, 2, 3});
    struct boot_options start = {.topology = &topology, .self = 2, .shards = 1};
    memset(start.random_id, 7, sizeof start.random_id);
    assert_int_equal(
        boot_node(engine_store(directory->engine, 0), &arena, &start, &boot, why, sizeof why), OK);
    assert_int_equal(boot.generation, 1);
    arena_deinit(&arena);
}

static void directory_remove(struct directory *directory)
{
    char command[96];
    engine_close(directory->engine);
    pthread_mutex_destroy(&directory->lock);
    snprintf(command, sizeof command, "rm -r %s", directory->path);
    assert_int_equal(system(command), 0);
}

static struct node *directory_start(struct directory *directory, struct node_options options)
{
    options.member = 2;
    options.identity = 7;
    options.meta = engine_store(directory->engine, 0);
    options.raise_ms = 20;
    struct node *node = node_start(&options);
    directory_is_of(directory, node);
    return node;
}

static void directory_stop(struct directory *directory, struct node *node)
{
    directory_is_of(directory, NULL);
    node_stop(node, 0);
}

/* model/identity.h: a peer keeps what a node has raised its generation to, and nothing is raised
 * before some peer has accepted this life. So an older copy of the directory that runs alone, for
 * long, does not come above that, neither in this life nor by another start (simulator seeds
 * 231022, 263672). */
static void test_an_older_copy_that_was_alone(void **state)
{
    (void)state;
    struct directory directory;
    directory_make(&directory);
    struct node *a = node_start_plain(1);
    struct node *b = directory_start(&directory, (struct node_options){.nonce = 5});
    int port = b->port;
    node_connect(a, a->port, port, NOWHERE);
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(linked(a, b));
    WAIT_FOR(totals_of(b).raises >= 2);
    directory_stop(&directory, b);
    uint64_t raised = totals_of(a).verdicts[IDENTITY_SAME];
    assert_true(raised > 0);
    /* As it was after its first start, started once more. */
    b = directory_start(&directory,
                        (struct node_options){.nonce = 6, .generation = 2, .port = port});
    node_connect(b, NOWHERE, port, NOWHERE);
    /* Longer than two ticks: one raises, the next says so. */
    nanosleep(&(struct timespec){.tv_sec = 2, .tv_nsec = 500 * (long)NS_PER_MS}, NULL);
    assert_int_equal(totals_of(b).raises, 0);
    node_connect(b, a->port, port, NOWHERE);
    WAIT_FOR(told_of(b).verdict == IDENTITY_RESTORED);
    assert_in_range(told_of(b).known.self.generation, IDENTITY_RAISE, 5 * IDENTITY_RAISE);
    assert_false(figures_of(b, 1).connected);
    directory_stop(&directory, b);
    node_stop(a, 0);
    directory_remove(&directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_wrong_member_behind_an_address),
        cmocka_unit_test(test_a_member_that_is_not_known_yet),
        cmocka_unit_test(test_a_newer_epoch_is_told_by_the_hello),
        cmocka_unit_test(test_a_member_that_was_removed),
        cmocka_unit_test(test_a_member_that_has_moved),
        cmocka_unit_test(test_more_members_over_time_than_at_once),
        cmocka_unit_test(test_own_number),
        cmocka_unit_test(test_duplicate_identity),
        cmocka_unit_test(test_restarted_and_restored),
        cmocka_unit_test(test_rows_are_durable_before_use),
        cmocka_unit_test(test_an_older_copy_that_was_alone),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
