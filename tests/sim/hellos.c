#include "tests/sim/hellos.h"

#include "tests/sim/world.h"

#define RAISE_NS (150 * (uint64_t)MS_NS)
/* From the end of the process to its next start, at most. */
#define RENEWAL_NS (20 * (uint64_t)MS_NS)

static struct store *meta_store(struct host *host)
{
    return engine_store(host->engine, host->world->options.shards);
}

/* Where members stay as they are copies are put back that nobody can tell, on purpose. */
static void plan_raise(struct host *host)
{
    struct world *world = host->world;
    if (!world_has(world, FAULT_RESTORED) || !world_has(world, FAULT_MEMBERSHIP))
        return;
    world_plan_host(host, world->now_ns + RAISE_NS, EVENT_RAISE);
}

void hellos_started(struct host *host, const struct boot *boot)
{
    struct hellos *hellos = &host->hellos;
    *hellos = (struct hellos){.mine = boot->hello,
                              .generation = boot->hello.self.generation,
                              .epoch_bound = boot->epoch_bound};
    for (uint32_t i = 0; i < host->world->options.nodes; i++) {
        if (i != host->index && incarnation_load(meta_store(host), i + 1, &hellos->rows[i]) != OK)
            world_fail(host->world, "boot", "n%u cannot read whom it has met", host->member);
    }
    plan_raise(host);
}

void hellos_renew(struct host *host)
{
    char why[256] = "";
    struct arena arena;
    if (!host->hellos.renewing)
        return;
    host->wiped = false; /* from here on its vnodes know that they are lost */
    struct boot_renewal renewal = {.answer = host->hellos.answer, .log = &host->world->log};
    for (size_t i = 0; i < sizeof renewal.fresh.bytes; i++)
        renewal.fresh.bytes[i] = (uint8_t)(1 + prng_below(&host->prng, 255));
    arena_init(&arena, NULL, 0);
    if (boot_renew(meta_store(host), &arena, &renewal, why, sizeof why) != OK)
        world_fail(host->world, "boot", "n%u: %s", host->member, why);
    arena_deinit(&arena);
    host->world->figures.renewals++;
}

static void end_and_renew(struct host *host, const struct incarnation_answer *answer)
{
    struct world *world = host->world;
    trace_line(&world->trace, world->now_ns, "n%u is told: %s", host->member,
               identity_text(answer->verdict));
    host_crash(host, CRASH_PROCESS);
    host->hellos.renewing = true;
    host->hellos.answer = *answer;
    network_links_changed(world);
    world_plan_host(host, world->now_ns + prng_below(&host->disk_prng, RENEWAL_NS), EVENT_RESTART);
}

static bool judge(struct host *judge_host, struct host *host)
{
    struct world *world = host->world;
    struct hellos *hellos = &judge_host->hellos;
    struct incarnation *row = &hellos->rows[host->index];
    struct incarnation next;
    bool linked = world->network.links[judge_host->index][host->index].announced;
    struct incarnation_answer answer =
        incarnation_judge(row, &host->hellos.mine, host->hellos.epoch_bound,
                          linked ? IDENTITY_LINKED : IDENTITY_GONE, &next);
    switch (answer.action) {
    case IDENTITY_PROCEED:
        break;
    case IDENTITY_RETRY: /* the probe finds the old process dead */
        network_told_down(world, judge_host->index, host->index);
        return false;
    case IDENTITY_RENEW:
        end_and_renew(host, &answer);
        return false;
    case IDENTITY_STOP:
        world_fail(world, "identity", "n%u is taken for another process of its own", host->member);
        return false;
    }
    if (!incarnation_equal(row, &next)) {
        if (incarnation_stage(meta_store(judge_host), host->member, &next) != OK)
            return false;
        *row = next;
        hellos->sequences[host->index] = store_staged(meta_store(judge_host));
        host_sync_wanted(judge_host);
    }
    bool durable = store_committed(meta_store(judge_host)) >= hellos->sequences[host->index];
    host->hellos.accepted |= durable;
    return durable;
}

/* As peers_heard (rpc/peer_identity.c). */
static void tell_raised(struct host *host, uint32_t other)
{
    struct host *peer = &host->world->hosts[other];
    struct incarnation *row = &peer->hellos.rows[host->index];
    struct incarnation next;
    if (!peer->up || !host->world->network.links[host->index][other].usable || !row->known)
        return;
    struct identity_hello hello = host->hellos.mine;
    hello.self.generation = host->hellos.generation;
    struct incarnation_answer answer =
        incarnation_judge(row, &hello, host->hellos.epoch_bound, IDENTITY_LINKED, &next);
    if (answer.verdict != IDENTITY_SAME || incarnation_equal(row, &next) ||
        incarnation_stage(meta_store(peer), host->member, &next) != OK)
        return;
    *row = next;
    peer->hellos.sequences[host->index] = store_staged(meta_store(peer));
    host_sync_wanted(peer);
}

void hellos_on_raise(struct host *host)
{
    struct hellos *hellos = &host->hellos;
    struct store *meta = meta_store(host);
    if (hellos->raised == 0) {
        if (boot_raise_generation(meta, hellos->accepted, &hellos->raised) != OK)
            hellos->raised = 0;
        hellos->raised_sequence = store_staged(meta);
        host_sync_wanted(host);
    } else if (store_committed(meta) >= hellos->raised_sequence) {
        hellos->generation = hellos->raised;
        hellos->raised = 0;
        for (uint32_t i = 0; i < host->world->options.nodes; i++) {
            if (i != host->index)
                tell_raised(host, i);
        }
    }
    plan_raise(host);
}

bool hellos_past(const struct world *world, uint32_t node, const struct identity *copied)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct identity *row = &world->hosts[i].hellos.rows[node].hello.self;
        if (i != node && steward_is_member(world, i) &&
            node_id_equal(row->node_id, copied->node_id) && row->generation <= copied->generation)
            return false;
    }
    return hellos_known_everywhere(world, node);
}

/* Who was removed is told so and ends; who is not known yet comes again. */
static bool is_known(struct host *judge_host, struct host *host)
{
    const struct topology *topology = &judge_host->view->topology;
    const struct member *member = topology_member(topology, host->member);
    if (topology_was_removed(topology, host->member)) {
        world_plan_host(host, host->world->now_ns, EVENT_LEFT);
        return false;
    }
    return member != NULL;
}

bool hellos_admit(struct world *world, uint32_t one, uint32_t other)
{
    struct host *a = &world->hosts[one];
    struct host *b = &world->hosts[other];
    return is_known(a, b) && is_known(b, a) && judge(a, b) && judge(b, a);
}

bool hellos_known_everywhere(const struct world *world, uint32_t node)
{
    const struct identity *mine = &world->hosts[node].hellos.mine.self;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct hellos *other = &world->hosts[i].hellos;
        if (i == node || !steward_is_member(world, i))
            continue;
        if (!world->hosts[i].up || !other->rows[node].known ||
            other->rows[node].hello.self.start_nonce != mine->start_nonce ||
            store_committed(engine_store(world->hosts[i].engine, world->options.shards)) <
                other->sequences[node])
            return false;
    }
    return true;
}
