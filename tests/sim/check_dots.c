/* A dot names one write for ever: the same dot with another content is two writes under one name,
 * and a merge would silently drop one of them (DESIGN.md 5, riak_kv issue 679). A key epoch of a
 * node is drawn once and belongs to one key: drawn twice, it would be luck that the keys differ. */
#include "model/hash.h"
#include "tests/sim/world.h"

#include <stdlib.h>

static uint64_t identity_of(uint32_t keyspace_id, struct bytes key, struct dot dot)
{
    uint64_t parts[4] = {hash_key(keyspace_id, key), dot.member, dot.key_epoch, dot.counter};
    uint64_t identity = hash_bytes(bytes_of(parts, sizeof parts), 1);
    return identity == 0 ? 1 : identity;
}

static uint64_t identity_of_epoch(const struct clock_entry *entry)
{
    uint64_t parts[2] = {entry->member, entry->key_epoch};
    uint64_t identity = hash_bytes(bytes_of(parts, sizeof parts), 4);
    return identity == 0 ? 1 : identity;
}

static uint64_t content_of(const struct version *version)
{
    uint64_t parts[4] = {version->written_at, version->expires_at_ms, version->flags,
                         hash_bytes(version->value, 2)};
    return hash_bytes(bytes_of(parts, sizeof parts), 3);
}

static struct dot_shadow *find(struct check *check, uint64_t identity)
{
    size_t place = (size_t)identity & (check->dot_capacity - 1);
    while (check->dots[place].identity != 0 && check->dots[place].identity != identity)
        place = (place + 1) & (check->dot_capacity - 1);
    return &check->dots[place];
}

static void grow(struct check *check)
{
    struct dot_shadow *old = check->dots;
    size_t capacity = check->dot_capacity;
    check->dot_capacity *= 2;
    check->dots = calloc(check->dot_capacity, sizeof *check->dots);
    CHECK(check->dots != NULL);
    for (size_t i = 0; i < capacity; i++) {
        if (old[i].identity != 0)
            *find(check, old[i].identity) = old[i];
    }
    free(old);
}

bool check_named_once(struct world *world, uint64_t identity, uint64_t content)
{
    struct check *check = &world->check;
    struct dot_shadow *shadow = find(check, identity);
    if (shadow->identity != 0)
        return shadow->content == content;
    *shadow = (struct dot_shadow){.identity = identity, .content = content};
    check->dot_count++;
    if (2 * check->dot_count > check->dot_capacity)
        grow(check);
    return true;
}

static void see_epochs(struct world *world, uint32_t keyspace_id, struct bytes key,
                       const struct clock *clock)
{
    uint64_t content = hash_key(keyspace_id, key);
    for (uint32_t i = 0; i < clock->count; i++) {
        const struct clock_entry *entry = &clock->entries[i];
        if (!check_named_once(world, identity_of_epoch(entry), content) &&
            world->hosts[entry->member - 1].put_backs == 0)
            world_fail(world, "dots", "key epoch %llu of n%u is used by %.*s and another key",
                       (unsigned long long)entry->key_epoch, entry->member, (int)key.size,
                       (const char *)key.data);
    }
}

void check_dots_see(struct world *world, uint32_t keyspace_id, struct bytes key,
                    const struct version_set *set)
{
    see_epochs(world, keyspace_id, key, &set->clock);
    for (uint32_t i = 0; i < set->count; i++) {
        const struct version *version = &set->versions[i];
        uint64_t identity = identity_of(keyspace_id, key, version->dot);
        uint64_t content = content_of(version);
        if (!clock_covers(&set->clock, version->dot))
            world_fail(world, "dots", "a version of %.*s is not covered by its own clock",
                       (int)key.size, (const char *)key.data);
        if (!check_named_once(world, identity, content))
            world_fail(world, "dots",
                       "dot (n%u, %llu, %llu) of %.*s names two contents; one is of op %u",
                       version->dot.member, (unsigned long long)version->dot.key_epoch,
                       (unsigned long long)version->dot.counter, (int)key.size,
                       (const char *)key.data, history_writer(&world->history, version));
    }
}
