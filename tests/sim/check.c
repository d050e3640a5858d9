#include "tests/sim/check.h"

#include "model/record.h"
#include "tests/sim/world.h"

#include <stdlib.h>

void check_init(struct check *check)
{
    memset(check, 0, sizeof *check);
    arena_init(&check->arena, NULL, 0);
    check->dot_capacity = 1024;
    check->dots = calloc(check->dot_capacity, sizeof *check->dots);
    check->not_applied = calloc(OPERATIONS_MAX, 1);
    check->minted = calloc(OPERATIONS_MAX, 1);
    CHECK(check->dots != NULL && check->not_applied != NULL && check->minted != NULL);
}

void check_deinit(struct check *check)
{
    free(check->dots);
    free(check->not_applied);
    free(check->minted);
    arena_deinit(&check->arena);
}

void check_sent(struct world *world, const struct host *from, const struct message *message)
{
    (void)from;
    bool report =
        message->kind == MESSAGE_vnode_report || message->kind == MESSAGE_vnode_report_reply;
    if (report)
        return;
    if (message->from.kind == ACTOR_ANTI_ENTROPY || message->to.kind == ACTOR_ANTI_ENTROPY) {
        world->figures.anti_entropy_messages++;
        world->figures.anti_entropy_writes +=
            message->kind == MESSAGE_replica_write &&
            !(world->phase == PHASE_IDLE && check_reaped_is(world, &message->replica_write));
        world->figures.anti_entropy_digests += message->kind == MESSAGE_digest_read;
        check_bounds_messages(world);
        return;
    }
    switch (message->kind) {
    case MESSAGE_gossip_digest:
    case MESSAGE_gossip_digest_reply:
    case MESSAGE_gossip_keyspaces:
    case MESSAGE_gossip_keyspaces_reply:
    case MESSAGE_topology_document:
    case MESSAGE_topology_document_reply:
    case MESSAGE_topology_fetch:
    case MESSAGE_topology_prepare:
    case MESSAGE_topology_prepare_reply:
    case MESSAGE_topology_accept:
    case MESSAGE_topology_accept_reply:
        break;
    case MESSAGE_register_query:
    case MESSAGE_register_query_reply:
    case MESSAGE_register_prepare:
    case MESSAGE_register_prepare_reply:
    case MESSAGE_register_accept:
    case MESSAGE_register_accept_reply:
        world->figures.registers.messages++;
        check_bounds_messages(world);
        break;
    default:
        world->figures.requests_messages++;
        check_bounds_messages(world);
        break;
    }
}

/* States that travel are looked at as they arrive. */
static void check_record(struct world *world, const struct host *host, uint32_t keyspace_id,
                         struct bytes key, struct bytes record)
{
    struct arena arena;
    struct version_set set;
    arena_init(&arena, NULL, 0);
    if (record_decode(&arena, keyspace_id, key, record, &set) != OK) {
        world_fail(world, "disk", "n%u got a record that does not decode", host->member);
    } else {
        check_dots_see(world, keyspace_id, key, &set);
        check_bounds_set(world, keyspace_id, key, &set);
    }
    arena_deinit(&arena);
}

void check_arrived(struct world *world, const struct host *host, const struct message *message)
{
    check_registers_arrived(world, message);
    if (message->kind != MESSAGE_replica_write && message->kind != MESSAGE_hint_store)
        return;
    const struct replica_write *write =
        message->kind == MESSAGE_hint_store ? &message->hint_store.write : &message->replica_write;
    check_record(world, host, write->keyspace_id, write->key, write->record);
}

void check_minted(struct world *world, uint32_t operation)
{
    world->check.minted[operation] = 1;
    check_outcome_minted(world, operation);
}

void check_retried(struct world *world, uint32_t write)
{
    world->check.not_applied[write] = 0;
}

void check_began(struct world *world, struct operation *operation)
{
    operation->reaped = check_reaped(world, operation->keyspace, operation->key);
    check_joint_began(world, operation);
    if (operation->kind == OPERATION_GET) {
        check_monotonic_began(world, operation);
        check_centers_began(world, operation);
    }
}

void check_get_ended(struct world *world, struct operation *operation,
                     const struct client_get_done *done)
{
    check_ends_status(world, operation);
    check_outcome_get(world, operation, done);
    if (operation->status != OK)
        return;
    const struct version_set *set = &operation->set;
    char name[16];
    char where[48];
    key_name(operation->key, name);
    snprintf(where, sizeof where, "op %u", operation->id);
    check_dots_see(world, operation->keyspace_id, bytes_of_string(name), set);
    check_bounds_set(world, operation->keyspace_id, bytes_of_string(name), set);
    check_phantom(world, operation->keyspace, operation->key, set, where);
    operation->alone = check_put_back_alone(world, operation);
    check_monotonic_ended(world, operation, &set->clock);
    check_centers_ended(world, operation, &set->clock);
    if (operation->alone)
        return;
    check_lost_resurrection(world, operation->keyspace, operation->key, set, where);
    check_reaped_read(world, operation);
}

void check_put_ended(struct world *world, struct operation *operation,
                     const struct client_put_done *done)
{
    check_ends_status(world, operation);
    check_outcome_put(world, operation, &done->result);
    if (operation->status != OK)
        return;
    operation->alone = check_put_back_alone(world, operation);
    check_monotonic_ended(world, operation, &operation->result_clock);
    check_centers_ended(world, operation, &operation->result_clock);
}

static void check_key_finally(struct world *world, uint32_t keyspace, uint32_t key)
{
    const struct operation *read = world->workload.final[keyspace][key];
    if (read == NULL || read->state != OPERATION_ENDED || read->status != OK) {
        world_fail(world, "ends", "the final state of ks%u/key%u was not read", keyspace, key);
        return;
    }
    check_lost_finally(world, keyspace, key, &read->set);
    check_converged(world, keyspace, key, &read->set);
}

void check_finally(struct world *world)
{
    keyspaces_check(world);
    check_registers_finally(world);
    check_hints_finally(world);
    for (uint32_t i = 0; i < world->options.nodes; i++)
        check_trees(world, &world->hosts[i]);
    for (uint32_t keyspace = 0; keyspace < world->options.keyspace_count; keyspace++) {
        for (uint32_t key = 0; key < world->options.keys; key++) {
            if (world->workload.touched[keyspace][key])
                check_key_finally(world, keyspace, key);
        }
    }
}
