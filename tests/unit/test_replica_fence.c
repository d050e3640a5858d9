// link: coterie_actors coterie_store
/* Rules of actors/replica_fence.c: who may be answered, by the epochs of both sides and by what
 * this member is of the partition. Source: model/topology.h (the table of phases). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/reap.h"
#include "model/register.h"
#include "tests/unit/change_bench.h"
#include "tests/unit/replica_bench.h"

#define KEYSPACE KEYSPACE_TEST_SIBLINGS
#define STRONG   KEYSPACE_TEST_STRONG

enum asked {
    ASK_MINT,
    ASK_READ,
    ASK_WRITE,
    ASK_HINT,
    ASK_REPAIR,
    ASK_ROOTS,
    ASK_TREE,
    ASK_DIGESTS,
    ASK_RECORDS,
    ASK_SEAL,
    ASK_REMOVE,
    ASK_QUERY,
    ASK_PREPARE,
    ASK_ACCEPT,
    ASK_COUNT
};

static const enum message_kind replies[ASK_COUNT] = {
    [ASK_MINT] = MESSAGE_replica_mint_done,         [ASK_READ] = MESSAGE_replica_read_reply,
    [ASK_WRITE] = MESSAGE_replica_write_reply,      [ASK_HINT] = MESSAGE_replica_write_reply,
    [ASK_REPAIR] = MESSAGE_replica_write_reply,     [ASK_ROOTS] = MESSAGE_tree_roots_reply,
    [ASK_TREE] = MESSAGE_tree_read_reply,           [ASK_DIGESTS] = MESSAGE_digest_read_reply,
    [ASK_RECORDS] = MESSAGE_record_fetch_reply,     [ASK_SEAL] = MESSAGE_reap_seal_reply,
    [ASK_REMOVE] = MESSAGE_reap_remove_reply,       [ASK_QUERY] = MESSAGE_register_query_reply,
    [ASK_PREPARE] = MESSAGE_register_prepare_reply, [ASK_ACCEPT] = MESSAGE_register_accept_reply,
};

static struct message *new_write(struct bench *b, const char *key, enum write_reason reason)
{
    struct version_set set = test_write(&b->f, &(struct version_set){0}, NULL, 2, 1, "v");
    struct message *message = message_new(MESSAGE_replica_write, 0);
    message->replica_write =
        (struct replica_write){.keyspace_id = b->f.keyspace_ids[KEYSPACE],
                               .key = bytes_of_string(key),
                               .record = test_record(&b->f, KEYSPACE, key, &set),
                               .partition = test_partition(&b->f, KEYSPACE, key),
                               .reason = reason};
    return message;
}

static struct message *new_register(struct bench *b, enum asked asked, uint32_t partition)
{
    uint32_t id = b->f.keyspace_ids[STRONG];
    struct bytes key = bytes_of_string(change_key(&b->f, STRONG, partition, 1));
    struct ballot ballot = {.counter = 8, .member = 2};
    struct message *message;
    if (asked == ASK_QUERY) {
        message = message_new(MESSAGE_register_query, 0);
        message->register_query =
            (struct register_query){.partition = partition, .keyspace_id = id, .key = key};
    } else if (asked == ASK_PREPARE) {
        message = message_new(MESSAGE_register_prepare, 0);
        message->register_prepare = (struct register_prepare){
            .partition = partition, .keyspace_id = id, .key = key, .ballot = ballot};
    } else {
        message = message_new(MESSAGE_register_accept, 0);
        message->register_accept = (struct register_accept){.partition = partition,
                                                            .keyspace_id = id,
                                                            .key = key,
                                                            .ballot = ballot,
                                                            .value = bytes_of_string("x")};
    }
    return message;
}

static struct message *new_question(struct bench *b, enum asked asked, uint32_t partition)
{
    uint32_t id = b->f.keyspace_ids[KEYSPACE];
    const char *key = change_key(&b->f, KEYSPACE, partition, 1);
    struct message *message;
    if (asked >= ASK_QUERY)
        return new_register(b, asked, partition);
    switch (asked) {
    case ASK_MINT:
        return mint_message(b, KEYSPACE, key, "v", NULL);
    case ASK_READ:
        message = message_new(MESSAGE_replica_read, 0);
        message->replica_read = (struct replica_read){
            .keyspace_id = id, .key = bytes_of_string(key), .partition = partition};
        return message;
    case ASK_WRITE:
        return new_write(b, key, WRITE_REPLICATE);
    case ASK_HINT:
        return new_write(b, key, WRITE_HINT);
    case ASK_REPAIR:
        return new_write(b, key, WRITE_READ_REPAIR);
    case ASK_ROOTS:
        message = message_new(MESSAGE_tree_roots, 0);
        message->tree_roots.partition = partition;
        return message;
    case ASK_TREE:
        message = message_new(MESSAGE_tree_read, 0);
        message->tree_read = (struct tree_read){.partition = partition, .keyspace_id = id};
        return message;
    case ASK_DIGESTS:
        message = message_new(MESSAGE_digest_read, 0);
        message->digest_read = (struct digest_read){.partition = partition, .keyspace_id = id};
        return message;
    case ASK_RECORDS:
        message = message_new(MESSAGE_record_fetch, 0);
        message->record_fetch = (struct record_fetch){.partition = partition, .keyspace_id = id};
        return message;
    case ASK_SEAL:
        message = message_new(MESSAGE_reap_seal, 0);
        message->reap_seal = (struct reap_seal){.partition = partition, .keyspace_id = id};
        return message;
    default:
        message = message_new(MESSAGE_reap_remove, 0);
        message->reap_remove = (struct reap_remove){.partition = partition, .keyspace_id = id};
        return message;
    }
}

/* What is answered, and whether gossip was told to fetch a document. */
static enum err ask(struct bench *b, enum asked asked, uint32_t partition, uint64_t epoch,
                    bool *ret_told)
{
    enum err status = ERR_COUNT;
    struct message *message = new_question(b, asked, partition);
    message->id = ++b->next_id;
    message->from = actor_id_of(asked == ASK_MINT ? SELF : 3, ACTOR_COORDINATOR);
    message->epoch = epoch;
    fixture_handle(&b->f, message);
    fixture_sync(&b->f);
    *ret_told = false;
    while ((message = outbox_take(&b->f.outbox)) != NULL) {
        if (message->kind == MESSAGE_topology_behind) {
            assert_int_equal(message->to.kind, ACTOR_GOSSIP);
            assert_int_equal(message->to.node, SELF);
            assert_int_equal(message->topology_behind.member, 3);
            assert_int_equal(message->topology_behind.epoch, epoch);
            *ret_told = true;
        } else if (message->kind == replies[asked]) {
            status = message->replica_write_reply.status;
            assert_int_equal(message->epoch, b->f.topology.epoch);
        }
        message_free(message);
    }
    return status;
}

static bool passes(enum err status)
{
    return status != ERR_STALE_EPOCH && status != ERR_UNAVAILABLE;
}

static bool spreads(enum asked asked)
{
    return asked == ASK_HINT || asked == ASK_REPAIR;
}

static bool is_tree_question(enum asked asked)
{
    return asked >= ASK_ROOTS && asked <= ASK_RECORDS;
}

static enum replica_role role_needed(enum asked asked)
{
    if (asked == ASK_ROOTS)
        return ROLE_NONE; /* of no keyspace */
    return asked == ASK_MINT || asked == ASK_READ ? ROLE_READER : ROLE_WRITER;
}

/* Every kind of message in every phase, from a sender that is behind the partition's last step, at
 * it, and ahead of this node's document. */
static void phase_table(struct bench *b, uint32_t partition, enum replica_role role)
{
    uint64_t step = b->f.topology.phase_epochs[partition];
    uint64_t epochs[] = {step == 0 ? 0 : step - 1, step, b->f.topology.epoch,
                         b->f.topology.epoch + 1};
    const struct keyspace *keyspace = keyspace_map_find_id(&b->f.map, b->f.keyspace_ids[KEYSPACE]);
    assert_int_equal(view_role(b->f.view, keyspace, partition, SELF), role);
    for (enum asked asked = ASK_MINT; asked < ASK_COUNT; asked++) {
        for (size_t i = 0; i < ARRAY_COUNT(epochs); i++) {
            bool told = false;
            enum err status = ask(b, asked, partition, epochs[i], &told);
            bool ahead = epochs[i] > b->f.topology.epoch;
            bool old = epochs[i] < step && !spreads(asked);
            bool small = role < role_needed(asked);
            bool goes = asked == ASK_HINT && role != ROLE_NONE &&
                        topology_is_joint(&b->f.topology, partition) &&
                        change_sides(&b->f, KEYSPACE, partition, SELF) == 1u << TOPOLOGY_NOW;
            bool refused_ahead = ahead && (small || is_tree_question(asked));
            if (refused_ahead)
                assert_int_equal(status, ERR_UNAVAILABLE);
            else if (old || small || goes)
                assert_int_equal(status, ERR_STALE_EPOCH);
            else
                assert_true(passes(status));
            assert_int_equal(told, refused_ahead && asked != ASK_MINT);
        }
    }
}

static void roles_and_epochs(void **state)
{
    (void)state;
    static const enum replica_role gaining[] = {ROLE_NONE, ROLE_WRITER, ROLE_READER, ROLE_READER};
    static const enum replica_role losing[] = {ROLE_READER, ROLE_READER, ROLE_WRITER, ROLE_NONE};
    struct bench b = {0};
    fixture_init(&b.f, 5, 1);
    bench_start(&b);
    uint32_t gains = change_gain(&b.f, KEYSPACE);
    uint32_t stays = change_partition(&b.f, KEYSPACE, 3);
    for (unsigned phase = PHASE_WAITING; phase <= PHASE_DONE; phase++) {
        if (phase != PHASE_WAITING)
            change_step(&b.f, gains, (enum partition_phase)phase);
        change_step(&b.f, stays, (enum partition_phase)phase);
        fixture_pass(&b.f, 5000 * MS);
        phase_table(&b, gains, gaining[phase]);
        phase_table(&b, stays, ROLE_READER);
    }
    bench_deinit(&b);

    /* Seen from the other side the table reads backwards. */
    memset(&b, 0, sizeof b);
    fixture_init(&b.f, 5, 1);
    bench_start(&b);
    change_leave(&b.f, SELF);
    uint32_t loses = change_partition(&b.f, KEYSPACE, 1u << TOPOLOGY_NOW);
    for (unsigned phase = PHASE_WAITING; phase <= PHASE_DONE; phase++) {
        if (phase != PHASE_WAITING)
            change_step(&b.f, loses, (enum partition_phase)phase);
        fixture_pass(&b.f, 5000 * MS);
        phase_table(&b, loses, losing[phase]);
    }
    bench_deinit(&b);
}

/* Nothing new is sealed or removed while a partition goes over, floors are still told. */
static void no_reaping_while_joint(void **state)
{
    (void)state;
    struct bench b = {0};
    fixture_init(&b.f, 5, 1);
    bench_start(&b);
    change_leave(&b.f, 2);
    uint32_t stays = change_partition(&b.f, KEYSPACE, 3);
    fixture_pass(&b.f, 5000 * MS);
    change_step(&b.f, stays, PHASE_ANNOUNCED);
    struct reap_list list = {.count = 1, .digests = {{1, 1}}};
    for (int round = 0; round < 2; round++) {
        struct message *message = new_question(&b, ASK_SEAL, stays);
        message->epoch = b.f.topology.epoch;
        message->from = actor_id_of(3, ACTOR_ANTI_ENTROPY);
        message->reap_seal.floor = 1;
        list.count = round == 0 ? 1 : 0;
        message->reap_seal.digests = reap_list_encode(&b.f.arena, &list);
        fixture_handle(&b.f, message);
        fixture_sync(&b.f);
        message = fixture_take(&b.f, MESSAGE_reap_seal_reply);
        assert_int_equal(message->reap_seal_reply.status, round == 0 ? ERR_PRECONDITION : OK);
        message_free(message);
    }
    bool told;
    assert_int_equal(ask(&b, ASK_REMOVE, stays, b.f.topology.epoch, &told), ERR_PRECONDITION);
    bench_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_and_epochs),
        cmocka_unit_test(no_reaping_while_joint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
