#include "tests/sim/paths.h"

#include "tests/sim/world.h"

const char *path_name(enum path path)
{
    static const char *const names[PATH_COUNT] = {
#define X(owner, figure) [PATH_##owner##_##figure] = #owner " " #figure,
        PATH_TABLE(X)
#undef X
    };
    return names[path];
}

/* One actor's share: the rows of its owner. */
#define ROW_replica(kind, figure)                                                                  \
    if (kind == ACTOR_REPLICA)                                                                     \
        paths[PATH_replica_##figure] += counter_get(&replica->figure);
#define ROW_coordinator(kind, figure)                                                              \
    if (kind == ACTOR_COORDINATOR)                                                                 \
        paths[PATH_coordinator_##figure] += counter_get(&coordinator->figure);
#define ROW_gossip(kind, figure)                                                                   \
    if (kind == ACTOR_GOSSIP)                                                                      \
        paths[PATH_gossip_##figure] += counter_get(&gossip->figure);
#define ROW_anti_entropy(kind, figure)                                                             \
    if (kind == ACTOR_ANTI_ENTROPY)                                                                \
        paths[PATH_anti_entropy_##figure] += counter_get(&anti_entropy->figure);
#define ROW_reaper(kind, figure)                                                                   \
    if (kind == ACTOR_ANTI_ENTROPY)                                                                \
        paths[PATH_reaper_##figure] += counter_get(&reaper->figure);
#define ROW_hinted_handoff(kind, figure)                                                           \
    if (kind == ACTOR_HINTED_HANDOFF)                                                              \
        paths[PATH_hinted_handoff_##figure] += counter_get(&hinted_handoff->figure);

static void collect(uint64_t *paths, enum actor_kind kind, const struct replica_figures *replica,
                    const struct coordinator_figures *coordinator,
                    const struct gossip_figures *gossip,
                    const struct hinted_handoff_figures *hinted_handoff,
                    const struct anti_entropy_figures *anti_entropy,
                    const struct reaper_figures *reaper)
{
#define X(owner, figure) ROW_##owner(kind, figure)
    PATH_TABLE(X)
#undef X
}

static void must_be_zero(struct host *host, const char *what, const struct counter *counter)
{
    if (counter_get(counter) != 0)
        world_fail(host->world, "bounds", "n%u counted %llu %s", host->member,
                   (unsigned long long)counter_get(counter), what);
}

void paths_collect(struct host *host)
{
    struct world *world = host->world;
    uint64_t *paths = world->figures.paths;
    for (uint32_t i = 0; i < world->options.shards; i++) {
        const struct replica_figures *figures = replica_figures(host->replicas[i]);
        collect(paths, ACTOR_REPLICA, figures, NULL, NULL, NULL, NULL, NULL);
        must_be_zero(host, "messages that are not for a replica", &figures->unexpected);
        if (!world_has(world, FAULT_CORRUPT))
            must_be_zero(host, "corrupt records", &figures->corrupt);
    }
    for (uint32_t i = 0; i < world->options.coordinators; i++) {
        const struct coordinator_figures *figures = coordinator_figures(host->coordinators[i]);
        collect(paths, ACTOR_COORDINATOR, NULL, figures, NULL, NULL, NULL, NULL);
        must_be_zero(host, "messages that are not for a coordinator", &figures->unexpected);
        must_be_zero(host, "corrupt records", &figures->corrupt);
    }
    const struct gossip_figures *figures = gossip_figures(host->gossip);
    collect(paths, ACTOR_GOSSIP, NULL, NULL, figures, NULL, NULL, NULL);
    must_be_zero(host, "messages that are not for gossip", &figures->unexpected);
    must_be_zero(host, "other documents of its epoch", &figures->documents_split);
    const struct hinted_handoff_figures *hints = hinted_handoff_figures(host->hinted_handoff);
    collect(paths, ACTOR_HINTED_HANDOFF, NULL, NULL, NULL, hints, NULL, NULL);
    must_be_zero(host, "messages that are not for hinted handoff", &hints->unexpected);
    must_be_zero(host, "corrupt hints", &hints->corrupt);
    if (world->options.hint_bytes_max == 0)
        must_be_zero(host, "hints that were given up", &hints->overflow);
    must_be_zero(host, "hints that were given up", &hints->expired);
    must_be_zero(host, "hints that their targets refused for good", &hints->rejected);
    const struct anti_entropy_figures *ranges = anti_entropy_figures(host->anti_entropy);
    collect(paths, ACTOR_ANTI_ENTROPY, NULL, NULL, NULL, NULL, ranges,
            anti_entropy_reaper_figures(host->anti_entropy));
    must_be_zero(host, "messages that are not for anti-entropy", &ranges->unexpected);
    must_be_zero(host, "answers to anti-entropy that cannot be read", &ranges->corrupt);
}
