/* A node that was paused itself convicts nobody for their silence (RELIABILITY rule 31): after a
 * pause of more than five seconds a peer goes down only because its connection is. */
#include "tests/sim/world.h"

#define PAUSE_LONG_NS (5500 * (uint64_t)MS_NS)
#define DOUBT_NS      (4500 * (uint64_t)MS_NS)

void check_detector_paused(struct host *host, uint64_t until_ns)
{
    if (until_ns < host->world->now_ns + PAUSE_LONG_NS)
        return;
    host->doubt_from_ns = host->gossip_ran_ns; /* later news have not been looked at */
    if (until_ns + DOUBT_NS > host->doubt_until_ns)
        host->doubt_until_ns = until_ns + DOUBT_NS;
}

/* By the document: the silence of such a member convicts nobody. */
static bool is_out(const struct view *view, uint32_t number)
{
    const struct member *member = topology_member(&view->topology, number);
    return topology_was_removed(&view->topology, number) || (member != NULL && member->gone);
}

void check_detector_view(struct host *host, const struct view *before, const struct view *view)
{
    struct world *world = host->world;
    if (before == NULL || world->now_ns >= host->doubt_until_ns)
        return;
    for (uint32_t peer = 0; peer < world->options.nodes; peer++) {
        uint32_t member = peer + 1;
        if (is_out(view, member) || !view_alive(before, member) || view_alive(view, member) ||
            !world->network.links[host->index][peer].announced ||
            world->network.links[host->index][peer].told_down_ns >= host->doubt_from_ns)
            continue;
        world_fail(world, "detector", "n%u was paused itself and convicts n%u, which is connected",
                   host->member, member);
    }
}
