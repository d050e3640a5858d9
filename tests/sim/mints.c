#include "tests/sim/mints.h"

#include "tests/sim/world.h"

void mints_init(struct mints *mints)
{
    *mints = (struct mints){0};
    arena_init(&mints->arena, NULL, 0);
}

void mints_deinit(struct mints *mints)
{
    arena_deinit(&mints->arena);
}

static bool find_keyspace(const struct host *host, uint32_t id, uint32_t *ret_keyspace)
{
    for (uint32_t i = 0; i < host->world->options.keyspace_count; i++) {
        if (host->world->workload.keyspace_ids[i] == id) {
            *ret_keyspace = i;
            return true;
        }
    }
    return false;
}

void mints_before(struct host *host, const struct message *message, struct mint_watch *ret_watch)
{
    struct mint_watch *watch = ret_watch;
    const struct put_request *request = &message->replica_mint.request;
    *watch = (struct mint_watch){.keyspace_id = request->keyspace_id,
                                 .partition = message->replica_mint.partition,
                                 .has_context = request->has_context};
    arena_init(&watch->arena, NULL, 0);
    struct version version = {
        .flags = request->flags, .expires_at_ms = request->expires_at_ms, .value = request->value};
    watch->operation = history_writer(&host->world->history, &version);
    watch->valid = find_keyspace(host, request->keyspace_id, &watch->keyspace) &&
                   key_parse(request->key, &watch->key) && watch->operation != OPERATION_NONE;
    if (!watch->valid) {
        world_fail(host->world, "phantom", "n%u: asked to mint what nobody wrote", host->member);
        return;
    }
    if (watch->has_context) {
        struct reader reader = reader_of(arena_copy(&watch->arena, request->context));
        if (clock_decode(&reader, &watch->arena, &watch->context) != OK)
            world_fail(host->world, "mint", "n%u: a context arrived damaged", host->member);
    }
    host_peek(host, request->keyspace_id, request->key, &watch->arena, &watch->before);
}

/* A write removes exactly what it is entitled to, and adds itself. */
static void check_removed(struct host *host, const struct mint_watch *watch,
                          const struct clock *covers, const struct version_set *after,
                          struct dot dot)
{
    uint32_t expected = 1;
    for (uint32_t i = 0; i < watch->before.count; i++) {
        struct dot held = watch->before.versions[i].dot;
        if (clock_covers(covers, held))
            continue;
        expected++;
        bool there = false;
        for (uint32_t j = 0; j < after->count; j++)
            there |= dot_compare(after->versions[j].dot, held) == 0;
        if (!there)
            world_fail(host->world, "mint",
                       "n%u: operation %u removed a sibling that its context does not cover",
                       host->member, watch->operation);
    }
    bool itself = false;
    for (uint32_t j = 0; j < after->count; j++)
        itself |= dot_compare(after->versions[j].dot, dot) == 0 &&
                  history_writer(&host->world->history, &after->versions[j]) == watch->operation;
    if (!itself || after->count != expected)
        world_fail(host->world, "mint",
                   "n%u: operation %u left %u versions, %u expected, its own %s", host->member,
                   watch->operation, after->count, expected, itself ? "there" : "missing");
}

/* Where the last writer wins a write is later than all that it replaces: else that, with its later
 * stamp, may have pushed out on another replica what a merge would keep (version.h). */
static void check_stamp(struct host *host, const struct mint_watch *watch, const struct mint *mint)
{
    bool later = mint->kept;
    for (uint32_t i = 0; i < watch->before.count; i++)
        later &= mint->written_at > watch->before.versions[i].written_at;
    if (!later)
        world_fail(host->world, "mint", "n%u: operation %u is stamped before what it replaces",
                   host->member, watch->operation);
}

/* One write, one dot (RELIABILITY rule 21). A retry may find a replica that never heard of the
 * first attempt; one that made it, in the same life, knows. */
static void check_once(struct host *host, const struct mint_watch *watch, const struct mint *mint)
{
    struct world *world = host->world;
    const struct replica *replica =
        host->replicas[replica_shard(watch->partition, world->options.shards)];
    if (counter_get(&replica_figures(replica)->requests_forgotten) > 0)
        return;
    bool retried = world->history.operations[watch->operation].retried;
    for (const struct mint *other = world->mints.by_key[watch->keyspace][watch->key]; other != NULL;
         other = other->next) {
        if (other->operation != watch->operation)
            continue;
        /* Where clocks jump, as all do when they are set right, ten minutes are soon over. With a
         * copy that is emptied, or given up and gained again, goes what it knew of requests. */
        bool keeps = host->put_backs == 0 && !world_has(world, FAULT_MEMBERSHIP);
        bool knew = keeps && other->dot.member == mint->dot.member && other->start == host->start &&
                    !world_has(world, FAULT_JUMP) && world->phase == PHASE_SAFETY;
        if (!retried || knew)
            world_fail(world, "dots", "n%u: operation %u is minted a second time%s", host->member,
                       watch->operation, knew ? " there" : "");
    }
}

/* The newest of the node's own that was not there before. Usually of its last epoch: but a context
 * may know of a later one, from a life that the disk has forgotten since (restored). */
static struct dot own_dot(const struct host *host, const struct mint_watch *watch,
                          const struct version_set *after)
{
    uint64_t epoch = clock_last_epoch(&after->clock, host->member);
    struct dot dot = {.member = host->member};
    for (uint32_t i = 0; i < after->clock.count; i++) {
        dot.key_epoch = after->clock.entries[i].key_epoch;
        dot.counter = clock_last_counter(&after->clock, host->member, dot.key_epoch);
        if (after->clock.entries[i].member == host->member &&
            !clock_covers(&watch->before.clock, dot) &&
            !(watch->has_context && clock_covers(&watch->context, dot)))
            return dot;
    }
    return (struct dot){.member = host->member,
                        .key_epoch = epoch,
                        .counter = clock_last_counter(&after->clock, host->member, epoch)};
}

static void mint_record(struct host *host, const struct mint_watch *watch,
                        const struct version_set *after)
{
    struct world *world = host->world;
    struct mints *mints = &world->mints;
    struct mint *mint = ARENA_NEW(&mints->arena, struct mint, 1);
    mint->dot = own_dot(host, watch, after);
    mint->operation = watch->operation;
    mint->start = host->start;
    check_once(host, watch, mint);
    bool lww = world->options.keyspaces[watch->keyspace].conflict == KEYSPACE_LWW;
    mint->covers = clock_copy(&mints->arena,
                              watch->has_context && !lww ? &watch->context : &watch->before.clock);
    if (mint->dot.counter == 1)
        check_leases_drawn(host, watch->partition, mint->dot.key_epoch);
    if (clock_covers(&watch->before.clock, mint->dot) || clock_covers(&mint->covers, mint->dot))
        world_fail(world, "dots", "n%u: operation %u got a dot that was seen before", host->member,
                   watch->operation);
    for (uint32_t i = 0; i < after->count; i++) {
        if (dot_compare(after->versions[i].dot, mint->dot) != 0)
            continue;
        mint->kept = true;
        mint->written_at = after->versions[i].written_at;
    }
    if (after->count > SIBLINGS_MAX && after->count > watch->before.count)
        world_fail(world, "bounds", "n%u: operation %u made %u siblings", host->member,
                   watch->operation, after->count);
    if (lww)
        check_stamp(host, watch, mint);
    if (!lww)
        check_removed(host, watch, &mint->covers, after, mint->dot);
    struct mint **list = &mints->by_key[watch->keyspace][watch->key];
    mint->next = *list;
    *list = mint;
    check_minted(world, watch->operation);
}

void mints_after(struct host *host, struct mint_watch *watch)
{
    struct version_set after = {0};
    char name[16];
    key_name(watch->key, name);
    if (watch->valid &&
        host_peek(host, watch->keyspace_id, bytes_of_string(name), &watch->arena, &after) &&
        !clock_equal(&watch->before.clock, &after.clock))
        mint_record(host, watch, &after);
    arena_deinit(&watch->arena);
}

const struct mint *mints_find(const struct mints *mints, uint32_t keyspace, uint32_t key,
                              uint32_t operation, const struct clock *clock)
{
    for (const struct mint *mint = mints->by_key[keyspace][key]; mint != NULL; mint = mint->next) {
        if (mint->operation == operation && clock_covers(clock, mint->dot))
            return mint;
    }
    return NULL;
}
