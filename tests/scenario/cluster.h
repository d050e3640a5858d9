/* cluster.h -- a few nodes of the real actors in one process, for stories told as text.
 *
 * No chance in it: what happens at the same time happens in the order in which it was caused. A
 * message between nodes takes NETWORK_NS, one within a node no time, a sync of the log SYNC_NS.
 * Each node has one coordinator, one replica shard, gossip, hinted handoff and anti-entropy. Checks
 * that hold in every story are made on the way.
 */
#ifndef TESTS_SCENARIO_CLUSTER_H
#define TESTS_SCENARIO_CLUSTER_H

#include "actors/anti_entropy.h"
#include "actors/coordinator.h"
#include "actors/gossip.h"
#include "actors/hinted_handoff.h"
#include "actors/replica.h"
#include "base/heap.h"
#include "model/hash.h"
#include "model/record.h"
#include "store/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MS           ((uint64_t)1000 * 1000)
#define NETWORK_NS   (1 * MS)
#define SYNC_NS      (2 * MS)
#define NODES_MAX    9u
#define REQUESTS_MAX 256u
#define DOTS_MAX     256u
#define BACKUPS_MAX  4u
#define LOSSES_MAX   8u
#define EPOCHS_MAX   512u
#define EVENTUAL_ID  UINT64_MAX /* of a write that no coordinator knows */
#define WALL_MS      1800000000000u
#define REQUEST_NS   (2000 * MS)  /* deadline of every request */
#define OPERATION_NS (10000 * MS) /* of every operation on the topology */
#define PERIODIC_NS  (100 * MS)

enum { HANDLE_REPLICA, HANDLE_GOSSIP, HANDLE_HINTS, HANDLE_ANTI_ENTROPY, HANDLE_COUNT };
enum { SLOT_COORDINATOR, SLOT_REPLICA, SLOT_GOSSIP, SLOT_HINTS, SLOT_ANTI_ENTROPY, SLOT_COUNT };

struct node {
    struct cluster *cluster;
    uint32_t number;
    bool up;
    bool starting;
    bool slow;       /* its syncs do not end */
    bool unreadable; /* its reads fail */
    bool syncing;
    bool periodic; /* a sync that nobody waits for is planned */
    uint64_t tick_at_ns[SLOT_COUNT];
    uint32_t start; /* events of an earlier life are void */
    struct identity_hello hello;
    uint64_t epoch_bound;
    struct incarnation met[NODES_MAX]; /* by index */
    bool accepted;                     /* by some peer, in this life */
    bool renewing;                     /* its next start is that of a new incarnation */
    struct incarnation_answer told;
    struct memory_disk *disk;
    bool lost;                     /* its disk, at some time */
    const struct topology *joined; /* of one that came later: the document that named it first */
    struct topology document;
    bool holds_documents; /* they do not arrive; the newest of them waits: */
    struct message *held_document;
    struct engine *engine;
    struct coordinator *coordinator;
    struct replica *replica;
    struct gossip *gossip;
    struct hinted_handoff *hinted_handoff;
    struct anti_entropy *anti_entropy;
    struct actor *actors[SLOT_COUNT];
    struct view *view;
    struct prng prng;
    struct prng background; /* of anti-entropy: stories do not change when its turns do */
    int64_t wall_skew_ms;
};

enum event_kind {
    EVENT_MESSAGE,
    EVENT_SYNCED,
    EVENT_PERIODIC,
    EVENT_TICK,
    EVENT_START,
    EVENT_MEET,
    EVENT_LEAVE
};

struct event {
    enum event_kind kind;
    uint32_t node; /* index */
    uint32_t start;
    uint64_t mark; /* of a sync; the slot of a tick; whom to meet */
    struct message *message;
};

/* What a client asked, and what became of it. */
struct request {
    bool is_put;
    bool ended;
    bool cut_off; /* its node went down: nobody answers */
    uint32_t node;
    uint64_t begun_ns;
    char keyspace[16];
    char key[32];
    char value[64];
    char keep_as[16]; /* name for the context that comes back */
    enum err status;
    enum outcome outcome;
    bool expires;
    bool periodic; /* acknowledged from memory: a power cut may take it back */
    bool quorum;   /* asked a quorum or more, of replicas alone */
    uint64_t ended_ns;
    struct clock context; /* of what was written or read */
    /* of a consistent keyspace */
    bool strong;
    enum register_condition condition;
    char expected[64];
    uint64_t expected_version;
    char id[16];   /* under which it may be tried again; empty: none */
    char seen[64]; /* read, or found by one that was refused */
    uint64_t version;
};

/* What a tampering run does at one message between nodes; the last also at an answer to a client.
 */
enum tamper {
    TAMPER_NONE,
    TAMPER_DROP,
    TAMPER_TWICE,
    TAMPER_CRASH_SENDER,
    TAMPER_CRASH_ALL,
    TAMPER_COUNT
};

struct cluster {
    struct arena arena;
    struct topology topology; /* that it began with */
    struct topology newest;   /* that any node has had in force */
    uint64_t documents[EPOCHS_MAX];
    uint32_t centers;
    uint32_t node_count; /* with those that have not joined yet, and those that have left */
    struct node nodes[NODES_MAX];
    bool cut[NODES_MAX][NODES_MAX]; /* from, to */
    struct {
        uint32_t from;
        uint32_t to;
        char kind[32];
    } losses[LOSSES_MAX]; /* messages of this kind do not arrive */
    uint32_t loss_count;
    uint64_t reap_after_ms; /* 0: as the daemon */
    uint64_t compare_ns;    /* 0: as the daemon */
    uint32_t renewals;
    uint64_t now_ns;
    struct heap events;
    uint64_t serial;
    struct request requests[REQUESTS_MAX];
    uint32_t request_count;
    struct {
        struct dot dot;
        uint64_t content;
        uint64_t key_hash;
        uint32_t keyspace_id;
    } dots[DOTS_MAX];
    uint32_t dot_count;
    struct {
        char name[16];
        struct bytes bytes;
    } contexts[32];
    uint32_t context_count;
    /* key epochs are numbers of the wall clock: stories name them a, b, c by first appearance */
    struct {
        uint32_t member;
        uint64_t epoch;
    } epochs[26 * 4];
    uint32_t epoch_count;
    /* lives of proposers, and what went under which ballot */
    struct {
        uint32_t member;
        uint64_t incarnation;
    } lives[64];
    uint32_t life_count;
    struct {
        struct ballot ballot;
        uint64_t key_hash;
        uint64_t content;
    } accepts[512];
    uint32_t accept_count;
    struct backup {
        char name[16]; /* empty: a free place */
        struct memory_disk *disk;
    } backups[BACKUPS_MAX];
    /* on the topology, the last one, and what it came to */
    uint64_t operation;
    bool operated;
    enum err operation_status;
    uint32_t operation_number;
    struct bytes operation_document;
    bool asked;      /* the last command of a client became a request */
    bool reaped;     /* tombstones have been removed */
    char rotten[64]; /* key that a disk could not give back */
    bool given_up;   /* and that somebody told the node to lose */
    uint32_t never_count;
    char never[8][64]; /* values that a delete which was acknowledged has removed */
    uint64_t begun_ns; /* of the command: times in the trace count from it */
    FILE *trace;
    uint32_t
        points; /* messages between nodes and answers so far, where a run can be tampered with */
    enum tamper tamper;
    uint32_t tamper_at;
    char failure[256];
};

__attribute__((format(printf, 2, 3))) static void cluster_fail(struct cluster *c,
                                                               const char *format, ...)
{
    if (c->failure[0] != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->failure, sizeof c->failure, format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 2, 3))) static void cluster_say(struct cluster *c, const char *format,
                                                              ...)
{
    uint64_t ms = (c->now_ns - c->begun_ns) / MS;
    va_list arguments;
    fprintf(c->trace, "  %4llu ms  ", (unsigned long long)ms);
    va_start(arguments, format);
    vfprintf(c->trace, format, arguments);
    va_end(arguments);
    fprintf(c->trace, "\n");
}

/* -- telling what is seen -------------------------------------------------------------------- */

static const char *epoch_name(struct cluster *c, uint32_t member, uint64_t epoch)
{
    static char name[8];
    uint32_t rank = 0;
    uint32_t i = 0;
    for (; i < c->epoch_count; i++) {
        if (c->epochs[i].member != member)
            continue;
        if (c->epochs[i].epoch == epoch)
            break;
        rank++;
    }
    if (i == c->epoch_count) {
        CHECK_U64(c->epoch_count, <, ARRAY_COUNT(c->epochs));
        c->epochs[c->epoch_count].member = member;
        c->epochs[c->epoch_count++].epoch = epoch;
    }
    CHECK_U64(rank, <, 26);
    snprintf(name, sizeof name, "%c", (char)('a' + rank));
    return name;
}

/* "{n1.a2=apple, n2.a1 deleted}" */
static const char *set_text(struct cluster *c, const struct version_set *set)
{
    static char text[1024];
    size_t at = (size_t)snprintf(text, sizeof text, "{");
    for (uint32_t i = 0; i < set->count && at < sizeof text - 128; i++) {
        const struct version *v = &set->versions[i];
        const char *epoch = epoch_name(c, v->dot.member, v->dot.key_epoch);
        at += (size_t)snprintf(text + at, sizeof text - at, "%sn%u.%s%llu", i == 0 ? "" : ", ",
                               v->dot.member, epoch, (unsigned long long)v->dot.counter);
        at += (v->flags & VERSION_TOMBSTONE) != 0
                  ? (size_t)snprintf(text + at, sizeof text - at, " deleted")
                  : (size_t)snprintf(text + at, sizeof text - at, "=%.*s",
                                     (int)(v->value.size < 32 ? v->value.size : 32),
                                     (const char *)v->value.data);
        if (v->expires_at_ms != 0)
            at += (size_t)snprintf(text + at, sizeof text - at, " (until %llu ms)",
                                   (unsigned long long)(v->expires_at_ms - WALL_MS));
    }
    snprintf(text + at, sizeof text - at, "}");
    return text;
}

static const char *members_text(const uint32_t *members, uint32_t count)
{
    static char text[2][128];
    static int which;
    char *out = text[which ^= 1];
    size_t at = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < count && at < sizeof text[0] - 8; i++)
        at +=
            (size_t)snprintf(out + at, sizeof text[0] - at, "%sn%u", i == 0 ? "" : " ", members[i]);
    return count == 0 ? "nobody" : out;
}

/* -- checks that hold in every story --------------------------------------------------------- */

/* RELIABILITY rule 1: a dot names one write of a key for ever. */
static void check_dots(struct cluster *c, uint32_t keyspace_id, struct bytes key,
                       const struct version_set *set)
{
    uint64_t key_hash = hash_key(keyspace_id, key);
    for (uint32_t i = 0; i < set->count; i++) {
        const struct version *v = &set->versions[i];
        uint64_t content = hash_bytes(v->value, v->written_at ^ v->flags);
        uint32_t k = 0;
        while (k < c->dot_count &&
               (c->dots[k].key_hash != key_hash || dot_compare(c->dots[k].dot, v->dot) != 0))
            k++;
        if (k < c->dot_count && c->dots[k].content != content)
            cluster_fail(c, "the dot n%u.%s%llu names two writes of %.*s", v->dot.member,
                         epoch_name(c, v->dot.member, v->dot.key_epoch),
                         (unsigned long long)v->dot.counter, (int)key.size, key.data);
        if (k < c->dot_count)
            continue;
        CHECK_U64(c->dot_count, <, DOTS_MAX);
        c->dots[c->dot_count].dot = v->dot;
        c->dots[c->dot_count].content = content;
        c->dots[c->dot_count].key_hash = key_hash;
        c->dots[c->dot_count++].keyspace_id = keyspace_id;
    }
}

/* RELIABILITY rule 20: what was said to be not applied is nowhere, ever. Values are unique in a
 * story. */
static void check_honest(struct cluster *c, struct bytes key, const struct version_set *set)
{
    for (uint32_t r = 0; r < c->request_count; r++) {
        const struct request *request = &c->requests[r];
        if (!request->is_put || !request->ended || request->cut_off ||
            request->outcome != OUTCOME_NOT_APPLIED || request->value[0] == 0 ||
            request->id[0] != 0 || /* another attempt may have been applied */
            !bytes_equal(key, bytes_of_string(request->key)))
            continue;
        for (uint32_t i = 0; i < set->count; i++) {
            if (bytes_equal(set->versions[i].value, bytes_of_string(request->value)))
                cluster_fail(c, "%s was said to be not applied, and is there", request->value);
        }
    }
}

/* What an acknowledged delete has removed, or has expired, is never read again (RELIABILITY rules
 * 12 to 15). */
static void check_never(struct cluster *c, const struct version_set *set, uint64_t wall_ms)
{
    for (uint32_t i = 0; i < c->never_count; i++) {
        for (uint32_t j = 0; j < set->count; j++) {
            if (version_is_live(&set->versions[j], wall_ms) &&
                bytes_equal(set->versions[j].value, bytes_of_string(c->never[i])))
                cluster_fail(c, "%s has gone, and is there", c->never[i]);
        }
    }
}

/* Of a key that was deleted or has expired, and may have been reaped, nothing is known any more;
 * nor of one that was given up. */
static bool is_forgotten(const struct cluster *c, const char *key)
{
    if (c->given_up && strcmp(c->rotten, key) == 0)
        return true;
    for (uint32_t i = 0; i < c->request_count && c->reaped; i++) {
        const struct request *request = &c->requests[i];
        if (request->is_put && (request->value[0] == 0 || request->expires) &&
            strcmp(request->key, key) == 0)
            return true;
    }
    return false;
}

/* RELIABILITY rule 19: a quorum read sees what quorum requests before it have written or seen. */
static void check_monotonic(struct cluster *c, const struct request *read)
{
    if (is_forgotten(c, read->key))
        return;
    for (uint32_t r = 0; r < c->request_count && read->quorum; r++) {
        const struct request *before = &c->requests[r];
        if (before->quorum && !before->periodic && before->ended && !before->cut_off &&
            before->status == OK && before->ended_ns <= read->begun_ns &&
            strcmp(before->key, read->key) == 0 && strcmp(before->keyspace, read->keyspace) == 0 &&
            !clock_descends(&read->context, &before->context))
            cluster_fail(c, "a quorum read of %s went behind an earlier request", read->key);
    }
}

static void check_record(struct cluster *c, uint32_t keyspace_id, struct bytes key,
                         struct bytes record, struct version_set *ret_set)
{
    *ret_set = (struct version_set){0};
    if (record.size == 0)
        return;
    enum err err =
        record_decode(&c->arena, keyspace_id, key, arena_copy(&c->arena, record), ret_set);
    if (err != OK)
        cluster_fail(c, "a record that a node sent is damaged: %s", err_text(err));
    check_dots(c, keyspace_id, key, ret_set);
    check_honest(c, key, ret_set);
}

/* -- events ---------------------------------------------------------------------------------- */

static struct event *cluster_plan(struct cluster *c, uint64_t at_ns, enum event_kind kind,
                                  const struct node *node)
{
    struct event *event = calloc(1, sizeof *event);
    CHECK(event != NULL);
    event->kind = kind;
    event->node = (uint32_t)(node - c->nodes);
    event->start = node->start;
    heap_push(&c->events, (struct heap_entry){.key = at_ns, .tie = ++c->serial, .value = event});
    return event;
}

static struct node *cluster_node(struct cluster *c, uint32_t number)
{
    CHECK(number >= 1 && number <= c->node_count);
    return &c->nodes[number - 1];
}

static void begin_sync(struct node *node)
{
    if (node->syncing || node->slow)
        return;
    node->syncing = true;
    struct cluster *c = node->cluster;
    cluster_plan(c, c->now_ns + SYNC_NS, EVENT_SYNCED, node)->mark =
        engine_memory_mark(node->engine);
}

static void plan_sync(struct node *node)
{
    struct engine_figures figures;
    engine_figures(node->engine, &figures);
    if (engine_memory_wants_sync(node->engine)) {
        begin_sync(node);
    } else if (figures.staged > figures.synced_writes && !node->periodic) {
        node->periodic = true;
        cluster_plan(node->cluster, node->cluster->now_ns + PERIODIC_NS, EVENT_PERIODIC, node);
    }
}

static void plan_message(struct cluster *c, struct node *to, uint64_t delay_ns,
                         struct message *message)
{
    cluster_plan(c, c->now_ns + delay_ns, EVENT_MESSAGE, to)->message = message;
}

static void on_committed(void *host, uint32_t handle, uint64_t sequence)
{
    struct node *node = host;
    if (node->starting || !node->up)
        return;
    struct message *message = message_new(MESSAGE_store_committed, 0);
    message->to = (struct actor_id){.node = node->number,
                                    .kind = handle == HANDLE_REPLICA  ? ACTOR_REPLICA
                                            : handle == HANDLE_GOSSIP ? ACTOR_GOSSIP
                                            : handle == HANDLE_HINTS  ? ACTOR_HINTED_HANDOFF
                                                                      : ACTOR_ANTI_ENTROPY};
    message->store_committed.sequence = sequence;
    plan_message(node->cluster, node, 0, message);
}

#endif
