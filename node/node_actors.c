#include "node/node_actors.h"

#include <inttypes.h>

#define NS_PER_SECOND 1000000000u

struct store *node_store(const struct node *node, enum node_handle handle)
{
    return engine_store(node->engine, node_handle(node, handle));
}

struct actor_id node_actors_of_handle(const struct node *node, uint32_t handle)
{
    static const uint8_t others[] = {
        [NODE_HANDLE_GOSSIP] = ACTOR_GOSSIP,
        [NODE_HANDLE_HINTED_HANDOFF] = ACTOR_HINTED_HANDOFF,
        [NODE_HANDLE_ANTI_ENTROPY] = ACTOR_ANTI_ENTROPY,
    };
    if (handle < node->replica_count)
        return (struct actor_id){
            .node = node->self, .kind = ACTOR_REPLICA, .index = (uint8_t)handle};
    uint32_t other = handle - node->replica_count;
    CHECK_U64(other, <, ARRAY_COUNT(others));
    return (struct actor_id){.node = node->self, .kind = others[other]};
}

static void make_gossip(struct node *node)
{
    struct gossip_options options = gossip_options_default(node->self, node->boot.generation);
    options.incarnation = node->boot.epoch_start;
    if (join_says_address(node->config, node->joined))
        snprintf(options.address, sizeof options.address, "%s",
                 join_advertised_address(node->config));
    options.addresses = node->boot.addresses;
    options.address_count = node->boot.address_count;
    node->gossip = gossip_new(&options, &node->topology, &node->boot.keyspaces);
}

static void make_coordinators(struct node *node)
{
    char name[32]; /* the runtime cuts thread names */
    for (uint32_t i = 0; i < node->coordinator_count; i++) {
        struct coordinator_options options = coordinator_options_default(
            node->self, (uint8_t)i, node->boot.generation, node->boot.epoch_start);
        options.remote_direct = node->config->number[CONFIG_forward_remote_writes] == 0;
        node->coordinators[i] = coordinator_new(&options);
        bool hosted = i < node->grpc_thread_count;
        snprintf(name, sizeof name, hosted ? RPC_LOOP_THREAD_NAME : "coordinator-%" PRIu32, i);
        runtime_add_actor(node->runtime, coordinator_actor(node->coordinators[i]), NULL, name);
    }
}

static void make_replicas(struct node *node)
{
    char name[32];
    for (uint32_t i = 0; i < node->replica_count; i++) {
        struct replica_options options = {
            .self = node->self,
            .shard = (uint8_t)i,
            .shards = (uint8_t)node->replica_count,
            .held_max = 16384,
        };
        node->replicas[i] = replica_new(&options, &node->boot);
        snprintf(name, sizeof name, "replica-%" PRIu32, i);
        runtime_add_actor(node->runtime, replica_actor(node->replicas[i]),
                          engine_store(node->engine, i), name);
    }
}

static void make_hinted_handoff(struct node *node)
{
    const uint64_t *settings = node->config->number;
    struct hinted_handoff_options options =
        hinted_handoff_options_default(node->self, node->boot.generation);
    options.target_bytes_max = settings[CONFIG_hints_bytes];
    options.total_bytes_max = 4 * options.target_bytes_max;
    options.age_max_ms = settings[CONFIG_hints_age] * 1000u;
    node->hinted_handoff = hinted_handoff_new(&options);
    runtime_add_actor(node->runtime, hinted_handoff_actor(node->hinted_handoff),
                      node_store(node, NODE_HANDLE_HINTED_HANDOFF), "hinted-handoff");
}

static void make_anti_entropy(struct node *node)
{
    const uint64_t *settings = node->config->number;
    struct anti_entropy_options options =
        anti_entropy_options_default(node->self, node->boot.generation, node->topology.partitions);
    options.interval_ns = settings[CONFIG_anti_entropy_interval] * NS_PER_SECOND;
    options.bytes_per_second = settings[CONFIG_anti_entropy_rate];
    options.fill_bytes_per_second = settings[CONFIG_move_bytes_per_second];
    options.reaper.reap_after_ms = settings[CONFIG_reap_after] * 1000u;
    /* Looked for more often where they may go soon, but not more than once a second. */
    uint64_t turn_ns = settings[CONFIG_reap_after] * (NS_PER_SECOND / 10);
    if (turn_ns < options.reaper.interval_ns)
        options.reaper.interval_ns = turn_ns < NS_PER_SECOND ? NS_PER_SECOND : turn_ns;
    node->anti_entropy = anti_entropy_new(&options);
    runtime_add_actor(node->runtime, anti_entropy_actor(node->anti_entropy),
                      node_store(node, NODE_HANDLE_ANTI_ENTROPY), "anti-entropy");
}

void node_actors_make(struct node *node, const struct runtime_options *runtime)
{
    make_gossip(node);
    struct view *view = gossip_first_view(node->gossip);
    topology_copy(&node->arena, &view->topology, &node->topology); /* addresses as listed */
    node->runtime = runtime_new(runtime, view);
    make_coordinators(node);
    make_replicas(node);
    runtime_add_actor(node->runtime, gossip_actor(node->gossip),
                      node_store(node, NODE_HANDLE_GOSSIP), "gossip");
    make_hinted_handoff(node);
    make_anti_entropy(node);
}

void node_actors_free(struct node *node)
{
    for (uint32_t i = 0; i < node->coordinator_count; i++) {
        if (node->coordinators[i] != NULL)
            coordinator_free(node->coordinators[i]);
    }
    for (uint32_t i = 0; i < node->replica_count; i++) {
        if (node->replicas[i] != NULL)
            replica_free(node->replicas[i]);
    }
    if (node->gossip != NULL)
        gossip_free(node->gossip);
    if (node->hinted_handoff != NULL)
        hinted_handoff_free(node->hinted_handoff);
    if (node->anti_entropy != NULL)
        anti_entropy_free(node->anti_entropy);
}
