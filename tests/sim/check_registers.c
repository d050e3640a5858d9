/* Consistent keyspaces (RELIABILITY 7.3 C7, C8, rules 33 to 35): each key is linearizable, version
 * numbers included; a counter counts what was acknowledged and at most what is unknown; a ballot
 * carries one value in all its lives; no replica takes an eventual write; where a majority votes,
 * requests succeed once all has healed. That votes are durable is in check_durable.c. */
#include "model/hash.h"
#include "model/register_value.h"
#include "tests/sim/linearizable.h"
#include "tests/sim/world.h"

#include <stdlib.h>

#define CONFIGURATIONS_MAX ((size_t)1 << 18)
#define VERSIONS_MAX       LINEARIZABLE_OPERATIONS_MAX

/* -- on the way --------------------------------------------------------------------------------
 */

static uint64_t ballot_identity(const struct ballot *ballot, uint64_t salt)
{
    uint64_t parts[4] = {ballot->counter, ballot->member, ballot->incarnation, salt};
    return hash_bytes(bytes_of(parts, sizeof parts), 5);
}

/* Only what arrives counts: a node may begin from an older copy of its disk, and asks nobody else
 * before it has been told so. */
void check_registers_arrived(struct world *world, const struct message *message)
{
    const struct register_prepare *prepare = &message->register_prepare;
    if (message->kind != MESSAGE_register_prepare)
        return;
    uint64_t parts[2] = {hash_key(prepare->keyspace_id, prepare->key), message->id};
    if (!check_named_once(world, ballot_identity(&prepare->ballot, 0),
                          hash_bytes(bytes_of(parts, sizeof parts), 6)))
        world_fail(world, "registers", "n%u prepares two rounds under ballot %llu",
                   message->from.node, (unsigned long long)prepare->ballot.counter);
}

static void check_accept(struct host *host, const struct message *message)
{
    const struct register_accept *accept = &message->register_accept;
    uint64_t salt = hash_key(accept->keyspace_id, accept->key);
    if (!check_named_once(host->world, ballot_identity(&accept->ballot, salt),
                          hash_bytes(accept->value, 7)))
        world_fail(host->world, "registers", "n%u has two values accepted under ballot %llu",
                   host->member, (unsigned long long)accept->ballot.counter);
}

void check_registers_leaves(struct host *host, const struct message *message)
{
    if (message->kind == MESSAGE_register_accept)
        check_accept(host, message);
    else if (message->kind == MESSAGE_hint_store && host->world->registers.keyspace_id != 0 &&
             message->hint_store.write.keyspace_id == host->world->registers.keyspace_id)
        world_fail(host->world, "registers", "n%u wants a hint kept for a register", host->member);
}

void check_registers_refused(struct host *host, enum err status)
{
    if (status == OK)
        world_fail(host->world, "registers", "n%u takes an eventual write to a consistent keyspace",
                   host->member);
}

void check_register_ended(struct world *world, const struct register_attempt *attempt,
                          enum err status)
{
    uint32_t lost = 0;
    if (!attempt->quiet || attempt->end == REGISTERS_READ || attempt->end == REGISTERS_APPLIED ||
        attempt->end == REGISTERS_REFUSED)
        return;
    uint32_t acceptors = registers_acceptors(world, attempt->key, &lost);
    if (acceptors - lost > acceptors / 2)
        world_fail(world, "ends", "register op %u (reg%u, %u of %u lost) in a healed cluster: %s",
                   attempt->id, attempt->key, lost, acceptors, err_text(status));
    world->figures.registers.without_majority++;
}

/* -- one key's history -------------------------------------------------------------------------
 */

enum role {
    ROLE_READ,
    ROLE_DONE,
    ROLE_REFUSED,
    ROLE_PENDING, /* may take effect at any time, or never */
    ROLE_EXPIRES, /* what the attempt has written goes: the same */
};

struct entry {
    enum role role;
    const struct register_attempt *attempt;
    uint64_t version; /* of ROLE_DONE */
};

struct judge {
    struct world *world;
    uint32_t key;
    uint32_t count;
    struct entry entries[LINEARIZABLE_OPERATIONS_MAX];
    struct linearizable_interval intervals[LINEARIZABLE_OPERATIONS_MAX];
    /* Answers tell what some versions were: nothing pending can have made one of another kind. */
    uint64_t version_last;
    struct {
        bool known;
        bool taken; /* by a change that was acknowledged */
        uint32_t value;
    } versions[VERSIONS_MAX];
    uint64_t acknowledged;
    uint64_t pending;
};

static void add(struct judge *judge, enum role role, const struct register_attempt *attempt,
                uint64_t called_ns, uint64_t returned_ns)
{
    CHECK_U64(judge->count, <, LINEARIZABLE_OPERATIONS_MAX);
    judge->entries[judge->count] = (struct entry){role, attempt, attempt->version};
    judge->intervals[judge->count++] = (struct linearizable_interval){called_ns, returned_ns};
}

static void add_pending(struct judge *judge, const struct register_attempt *first)
{
    judge->pending++;
    add(judge, ROLE_PENDING, first, first->called_ns, LINEARIZABLE_NEVER);
    if (first->expires_at_ms != 0)
        add(judge, ROLE_EXPIRES, first, first->called_ns, LINEARIZABLE_NEVER);
}

static bool learn(struct judge *judge, uint64_t version, uint32_t value, bool taken)
{
    if (version >= VERSIONS_MAX ||
        (judge->versions[version].known && judge->versions[version].value != value))
        return false;
    judge->versions[version].known = true;
    judge->versions[version].value = value;
    judge->versions[version].taken |= taken;
    if (version > judge->version_last)
        judge->version_last = version;
    return true;
}

/* -- a change and its attempts
 *
 * A register remembers the ids of its last changes, so whatever the attempts at one change were
 * told, it is made once, unless so many others came between that its id was forgotten. An attempt
 * whose outcome is unknown may still take effect while others go on, until a later one was decided
 * that began when it had ended: that one found no trace of it.
 */

struct change {
    const struct register_attempt *first;
    uint64_t last_end_ns;
    const struct register_attempt *applied; /* the first to say so */
    uint64_t applied_ns;                    /* the earliest answer that says it */
    uint64_t unknown_end_ns; /* of the attempts that are unknown, the last; 0: none */
    bool resolved;
};

static struct change change_of(const struct world *world, const struct register_attempt *first)
{
    const struct registers *registers = &world->registers;
    struct change change = {.first = first, .applied_ns = NEVER_NS};
    for (uint32_t i = first->id; i < registers->count; i++) {
        const struct register_attempt *attempt = &registers->attempts[i];
        if (attempt->write != first->id)
            continue;
        if (attempt->ended_ns > change.last_end_ns)
            change.last_end_ns = attempt->ended_ns;
        if (attempt->end == REGISTERS_APPLIED && change.applied == NULL)
            change.applied = attempt;
        if (attempt->end == REGISTERS_APPLIED && attempt->ended_ns < change.applied_ns)
            change.applied_ns = attempt->ended_ns;
        if ((attempt->end == REGISTERS_UNKNOWN || attempt->end == REGISTERS_RUNNING) &&
            attempt->ended_ns > change.unknown_end_ns)
            change.unknown_end_ns = attempt->ended_ns;
    }
    for (uint32_t i = first->id; i < registers->count; i++) {
        const struct register_attempt *attempt = &registers->attempts[i];
        change.resolved |= attempt->write == first->id && attempt->end == REGISTERS_REFUSED &&
                           attempt->called_ns > change.unknown_end_ns;
    }
    return change;
}

/* Whether so many others may have been made between the first attempt and the end of the last one
 * that the register has forgotten this one. */
static bool may_be_forgotten(const struct world *world, const struct change *change)
{
    uint32_t others = 0;
    for (uint32_t i = 0; i < world->registers.count; i++) {
        const struct register_attempt *other = &world->registers.attempts[i];
        bool over = other->ended_ns < change->first->called_ns && other->end != REGISTERS_UNKNOWN;
        others += other->key == change->first->key && other->kind != REGISTERS_GET &&
                  other->write != change->first->id && !over &&
                  other->called_ns < change->last_end_ns;
    }
    return others >= REGISTER_CHANGES_KEPT;
}

/* One attempt at a change that nobody was told of as applied yet, or of one that may be forgotten.
 */
static void add_attempt(struct judge *judge, const struct change *change, bool forgotten,
                        const struct register_attempt *attempt)
{
    struct world *world = judge->world;
    bool unknown = attempt->end == REGISTERS_UNKNOWN || attempt->end == REGISTERS_RUNNING;
    if (attempt->end == REGISTERS_REFUSED)
        add(judge, ROLE_REFUSED, attempt, attempt->called_ns, attempt->ended_ns);
    if (forgotten && unknown)
        add_pending(judge, attempt);
    if (attempt->end != REGISTERS_APPLIED || attempt == change->applied ||
        attempt->version == change->applied->version)
        return;
    if (!forgotten)
        world_fail(world, "registers", "reg%u: op %u was made twice, as versions %llu and %llu",
                   judge->key, attempt->write, (unsigned long long)change->applied->version,
                   (unsigned long long)attempt->version);
    add(judge, ROLE_DONE, attempt, attempt->called_ns, attempt->ended_ns);
}

static void add_change(struct judge *judge, const struct register_attempt *first)
{
    struct change change = change_of(judge->world, first);
    bool forgotten = may_be_forgotten(judge->world, &change);
    for (uint32_t i = first->id; i < judge->world->registers.count; i++) {
        const struct register_attempt *attempt = &judge->world->registers.attempts[i];
        if (attempt->write == first->id)
            add_attempt(judge, &change, forgotten, attempt);
    }
    if (change.applied != NULL) {
        judge->acknowledged++;
        add(judge, ROLE_DONE, change.applied, first->called_ns, change.applied_ns);
        if (first->expires_at_ms != 0)
            add(judge, ROLE_EXPIRES, first, first->called_ns, LINEARIZABLE_NEVER);
    } else if (!forgotten && change.unknown_end_ns != 0 && !change.resolved) {
        add_pending(judge, first);
    }
}

/* -- the model ---------------------------------------------------------------------------------
 */

static bool condition_holds(const struct register_attempt *attempt, uint64_t version,
                            uint32_t value)
{
    switch (attempt->kind) {
    case REGISTERS_IF_VALUE:
        return value != 0 && value == attempt->expected;
    case REGISTERS_IF_VERSION:
        return version == attempt->expected_version;
    case REGISTERS_IF_ABSENT:
        return value == 0;
    case REGISTERS_GET:
    case REGISTERS_PUT:
    case REGISTERS_DELETE:
        break;
    }
    return true;
}

/* Nothing that anybody was told speaks against a pending change having made this version. */
static bool may_make(const struct judge *judge, uint64_t version, uint32_t value)
{
    return version <= judge->version_last && !judge->versions[version].taken &&
           (!judge->versions[version].known || judge->versions[version].value == value);
}

/* The state is version and value: answers say both. */
static bool judge_step(void *closure, uint64_t state, uint32_t index, uint64_t *ret_state)
{
    const struct judge *judge = closure;
    const struct entry *entry = &judge->entries[index];
    const struct register_attempt *attempt = entry->attempt;
    uint64_t version = state >> 32;
    uint32_t value = (uint32_t)state;
    *ret_state = state;
    switch (entry->role) {
    case ROLE_READ:
        return attempt->version == version && attempt->value == value;
    case ROLE_REFUSED:
        return !condition_holds(attempt, version, value) && attempt->version == version &&
               attempt->value_seen == value;
    case ROLE_EXPIRES:
        *ret_state = (version + 1) << 32;
        return value == attempt->value && value != 0 && may_make(judge, version + 1, 0);
    case ROLE_DONE:
        *ret_state = (version + 1) << 32 | attempt->value;
        return entry->version == version + 1 && condition_holds(attempt, version, value);
    case ROLE_PENDING:
        *ret_state = (version + 1) << 32 | attempt->value;
        return condition_holds(attempt, version, value) &&
               may_make(judge, version + 1, attempt->value);
    }
    return false;
}

static void tell(struct world *world, const struct judge *judge)
{
    static const char *const roles[] = {"read", "done", "refused", "pending", "expires"};
    for (uint32_t i = 0; i < judge->count; i++) {
        const struct register_attempt *attempt = judge->entries[i].attempt;
        bool returned = judge->intervals[i].returned != LINEARIZABLE_NEVER;
        trace_line(&world->trace, world->now_ns,
                   "reg%u: op %u kind %d %s value %u expected %u/%llu seen %u version %llu, %.6f s "
                   "to %.6f s",
                   judge->key, attempt->id, (int)attempt->kind, roles[judge->entries[i].role],
                   attempt->value, attempt->expected, (unsigned long long)attempt->expected_version,
                   attempt->value_seen, (unsigned long long)attempt->version,
                   (double)judge->intervals[i].called / SECOND_NS,
                   returned ? (double)judge->intervals[i].returned / SECOND_NS : -1.0);
    }
}

static void fill(struct judge *judge)
{
    const struct registers *registers = &judge->world->registers;
    for (uint32_t i = 0; i < registers->count; i++) {
        const struct register_attempt *attempt = &registers->attempts[i];
        if (attempt->key != judge->key)
            continue;
        if (attempt->end == REGISTERS_READ)
            add(judge, ROLE_READ, attempt, attempt->called_ns, attempt->ended_ns);
        else if (attempt->kind != REGISTERS_GET && attempt->write == attempt->id)
            add_change(judge, attempt);
    }
}

/* False: two answers name one version and two contents. */
static bool learn_all(struct judge *judge)
{
    bool same = true;
    for (uint32_t i = 0; i < judge->count; i++) {
        const struct entry *entry = &judge->entries[i];
        if (entry->role == ROLE_READ || entry->role == ROLE_DONE)
            same &= learn(judge, entry->version, entry->attempt->value, entry->role == ROLE_DONE);
        else if (entry->role == ROLE_REFUSED)
            same &= learn(judge, entry->version, entry->attempt->value_seen, false);
    }
    return same;
}

static void judge_key(struct world *world, struct judge *judge)
{
    const struct linearizable_model model = {.step = judge_step, .closure = judge};
    enum linearizable_verdict verdict = LINEARIZABLE_NO;
    fill(judge);
    bool same = learn_all(judge);
    if (same)
        verdict = linearizable_check(judge->intervals, judge->count, &model, CONFIGURATIONS_MAX);
    world->figures.registers.judged++;
    if (verdict == LINEARIZABLE_YES)
        return;
    tell(world, judge);
    world_fail(world, "registers", "reg%u: its %u operations are %s", judge->key, judge->count,
               !same                        ? "not linearizable: one version with two values"
               : verdict == LINEARIZABLE_NO ? "not linearizable"
                                            : "too many to judge");
}

/* -- counters ----------------------------------------------------------------------------------
 */

/* Its last read, if it could be read. */
static const struct register_attempt *final_read(const struct world *world, uint32_t key)
{
    for (uint32_t i = world->registers.count; i > 0; i--) {
        const struct register_attempt *attempt = &world->registers.attempts[i - 1];
        if (attempt->key == key && attempt->final)
            return attempt->end == REGISTERS_READ ? attempt : NULL;
    }
    return NULL;
}

static void check_counter(struct world *world, const struct judge *judge)
{
    const struct register_attempt *final = final_read(world, judge->key);
    if (final == NULL)
        return;
    world->figures.registers.counters++;
    if (final->value < judge->acknowledged || final->value > judge->acknowledged + judge->pending)
        world_fail(world, "registers",
                   "reg%u counts %u: %llu increments were acknowledged, and %llu are unknown",
                   judge->key, final->value, (unsigned long long)judge->acknowledged,
                   (unsigned long long)judge->pending);
}

/* Who is no replica of a key, a fallback or any other, holds nothing of it. */
static void check_holders(struct world *world, uint32_t key)
{
    char name[16];
    struct replica_set set;
    struct arena arena;
    registers_key_name(key, name);
    uint32_t id = world->registers.keyspace_id;
    const struct view *view = steward_newest_host(world)->view;
    view_replica_set(view, keyspace_map_find_id(&view->keyspaces, id),
                     world_partition(world, id, bytes_of_string(name)), &set);
    arena_init(&arena, NULL, 0);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct bytes row = {0};
        bool replica = false;
        if (!steward_is_member(world, i))
            continue; /* what it has left with is nobody's */
        for (uint32_t j = 0; j < set.count; j++)
            replica |= set.replicas[j].member == i + 1;
        host_peek_record(&world->hosts[i], id, bytes_of_string(name), &arena, &row);
        if (!replica && row.size != 0)
            world_fail(world, "registers", "n%u holds reg%u and is no replica of it", i + 1, key);
    }
    arena_deinit(&arena);
}

void check_registers_finally(struct world *world)
{
    struct judge *judge = malloc(sizeof *judge);
    CHECK(judge != NULL);
    for (uint32_t key = 0; key < world->options.registers.keys; key++) {
        memset(judge, 0, sizeof *judge);
        judge->world = world;
        judge->key = key;
        judge->versions[0].known = true;
        judge_key(world, judge);
        if (registers_is_counter(world, key))
            check_counter(world, judge);
        check_holders(world, key);
    }
    free(judge);
}
