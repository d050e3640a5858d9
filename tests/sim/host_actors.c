#include "tests/sim/host.h"

#include "tests/sim/world.h"

static void add(struct host *host, struct actor *actor, struct store *store)
{
    CHECK_U64(host->actor_count, <, HOST_ACTORS_MAX);
    host->actors[host->actor_count++] =
        (struct host_actor){.actor = actor, .store = store, .turn_at_ns = NEVER_NS};
}

void host_actors_new(struct host *host, const struct boot *boot)
{
    const struct sim_options *options = &host->world->options;
    for (uint32_t i = 0; i < options->coordinators; i++) {
        struct coordinator_options coordinator = coordinator_options_default(
            host->member, (uint8_t)i, boot->generation, boot->epoch_start);
        coordinator.requests_max = options->requests_max;
        host->coordinators[i] = coordinator_new(&coordinator);
        add(host, coordinator_actor(host->coordinators[i]), NULL);
    }
    for (uint32_t i = 0; i < options->shards; i++) {
        struct replica_options replica = {
            .self = host->member,
            .shard = (uint8_t)i,
            .shards = (uint8_t)options->shards,
            .held_max = options->held_max,
            .derive_interval_ms = 500, /* trees are built again and again, */
            .tree_slice_rows = 3,      /* while rows below and above the cursor are written */
        };
        host->replicas[i] = replica_new(&replica, boot);
        add(host, replica_actor(host->replicas[i]), engine_store(host->engine, i));
    }
    struct gossip_options gossip = gossip_options_default(host->member, boot->generation);
    gossip.incarnation = boot->epoch_start;
    gossip.addresses = boot->addresses;
    gossip.address_count = boot->address_count;
    host->gossip = gossip_new(&gossip, &boot->topology, &boot->keyspaces);
    host->view = gossip_first_view(host->gossip);
    add(host, gossip_actor(host->gossip), engine_store(host->engine, options->shards));
    struct hinted_handoff_options hints =
        hinted_handoff_options_default(host->member, boot->generation);
    if (options->hint_bytes_max > 0)
        hints.target_bytes_max = options->hint_bytes_max;
    hints.stale_age_max_ms = 20000; /* a phase settles within 120 s */
    host->hinted_handoff = hinted_handoff_new(&hints);
    add(host, hinted_handoff_actor(host->hinted_handoff),
        engine_store(host->engine, options->shards + 1));
    struct anti_entropy_options anti_entropy =
        anti_entropy_options_default(host->member, boot->generation, options->partitions);
    anti_entropy.interval_ns = options->compare_every_ns;
    anti_entropy.late_ns = ANTI_ENTROPY_LATE_NS;
    anti_entropy.backoff_min_ns = ANTI_ENTROPY_LATE_NS;
    anti_entropy.backoff_max_ns = ANTI_ENTROPY_BACKOFF_NS;
    anti_entropy.reaper.reap_after_ms = options->reap_after_ms;
    anti_entropy.reaper.interval_ns = options->reap_every_ns;
    anti_entropy.reaper.late_ns = ANTI_ENTROPY_LATE_NS;
    host->anti_entropy = anti_entropy_new(&anti_entropy);
    add(host, anti_entropy_actor(host->anti_entropy),
        engine_store(host->engine, options->shards + 2));
}

void host_actors_free(struct host *host)
{
    paths_collect(host);
    for (uint32_t i = 0; i < host->world->options.coordinators; i++)
        coordinator_free(host->coordinators[i]);
    for (uint32_t i = 0; i < host->world->options.shards; i++)
        replica_free(host->replicas[i]);
    gossip_free(host->gossip);
    hinted_handoff_free(host->hinted_handoff);
    anti_entropy_free(host->anti_entropy);
    host->actor_count = 0;
}
