// link: coterie_actors
/* Rules of actors/message.h, actors/actor.h and actors/view.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/actor.h"
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

static struct view *test_view(uint32_t centers, uint32_t self)
{
    struct topology_seed seeds[8] = {0};
    for (uint32_t i = 0; i < 8; i++) {
        snprintf(seeds[i].name, sizeof seeds[i].name, "n%u", i + 1);
        snprintf(seeds[i].address, sizeof seeds[i].address, "127.0.0.1:%u", 7701 + i);
        snprintf(seeds[i].data_center, sizeof seeds[i].data_center, "dc%u", i % centers);
        seeds[i].weight = 1;
    }
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology;
    const char *why = NULL;
    assert_int_equal(topology_initial(&arena, seeds, 8, 16, &topology, &why), OK);
    struct keyspace keyspace = keyspace_builtin();
    struct keyspace_map map = {.count = 1, .keyspaces = &keyspace};
    struct view *view = view_new(&topology, &map, self);
    /* The view owns copies: scribble over what it was made of. */
    memset(topology.members, 0xee, sizeof *topology.members * topology.member_count);
    memset(topology.owners[TOPOLOGY_NOW], 0xee, sizeof(uint32_t) * 16 * centers);
    memset(topology.phases, 0xee, sizeof *topology.phases * 16);
    memset(&keyspace, 0xee, sizeof keyspace);
    arena_deinit(&arena);
    return view;
}

/* message.h: a zeroed body of the kind, and room in the arena for what the caller announced. */
static void message_new_zeroes_every_body(void **state)
{
    (void)state;
    static const size_t body_bytes[] = {
#define X(name, crosses) sizeof(struct name),
        MESSAGE_TABLE(X)
#undef X
    };
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        /* Dirty the allocator's block of that size first. */
        void *dirty = malloc(1024);
        memset(dirty, 0xa5, 1024);
        free(dirty);
        struct message *message = message_new(kind, 0);
        const uint8_t *body = (const uint8_t *)&message->client_get;
        for (size_t i = 0; i < body_bytes[kind]; i++)
            assert_int_equal(body[i], 0);
        assert_int_equal(message->kind, kind);
        assert_int_equal(message->id, 0);
        assert_null(message->next);
        assert_string_not_equal(message_kind_text(kind), "unknown");
        message_free(message);
    }
    assert_string_equal(message_kind_text(MESSAGE_replica_write_reply), "replica_write_reply");
    assert_string_equal(message_kind_text(MESSAGE_KIND_COUNT), "unknown");
    message_free(NULL);
}

/* message.h: small keys and values, or as many bytes as were hinted, cost no second allocation. */
static void message_arena_starts_in_the_same_block(void **state)
{
    (void)state;
    static const size_t hints[] = {0, 1, 100, 300, 1000, 4096, 1048576};
    for (size_t i = 0; i < ARRAY_COUNT(hints); i++) {
        struct message *message = message_new(MESSAGE_replica_write, hints[i]);
        size_t room = hints[i] < 128 ? 128 : hints[i];
        memset(arena_alloc(&message->arena, room), 0x5a, room);
        assert_int_equal(message->arena.chunk_bytes, 0);
        memset(arena_alloc(&message->arena, 5000), 0x5a, 5000); /* more than that still works */
        message_free(message);
    }
}

static void message_kinds_that_cross_nodes(void **state)
{
    (void)state;
    assert_true(message_crosses_nodes(MESSAGE_forward_put));
    assert_true(message_crosses_nodes(MESSAGE_replica_write));
    assert_true(message_crosses_nodes(MESSAGE_gossip_digest_reply));
    assert_false(message_crosses_nodes(MESSAGE_client_get));
    assert_false(message_crosses_nodes(MESSAGE_replica_mint));
    assert_false(message_crosses_nodes(MESSAGE_store_committed));
    assert_false(message_crosses_nodes(MESSAGE_view_publish));
    assert_false(message_crosses_nodes(MESSAGE_KIND_COUNT));
}

/* message.h: an answer goes to the sender with the request's id and deadline. */
static void message_reply_is_addressed(void **state)
{
    (void)state;
    struct message *request = message_new(MESSAGE_replica_read, 0);
    request->from = (struct actor_id){.node = 4, .kind = ACTOR_COORDINATOR, .index = 1};
    request->to = (struct actor_id){.node = 9, .kind = ACTOR_REPLICA};
    request->id = 77;
    request->deadline_ns = 123456;
    request->epoch = 5;
    struct message *reply = message_new_reply(request, MESSAGE_replica_read_reply, 0);
    assert_true(actor_id_equal(reply->to, request->from));
    assert_int_equal(reply->id, 77);
    assert_int_equal(reply->deadline_ns, 123456);
    assert_int_equal(reply->from.node, MEMBER_NONE); /* outbox_send fills it in */
    assert_int_equal(reply->epoch, 0);
    message_free(request);
    message_free(reply);
}

/* message.h: what was never sent is answered as if from there; only requests of other nodes that
 * somebody waits for are. */
static void message_undelivered_of_every_kind(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        struct message *request = message_new(kind, 0);
        request->from = (struct actor_id){.node = 4, .kind = ACTOR_COORDINATOR, .index = 1};
        request->to = (struct actor_id){.node = 9, .kind = ACTOR_REPLICA, .index = 2};
        request->id = 77;
        request->deadline_ns = 123456;
        struct message *answer = message_new_undelivered(request);
        if (kind != MESSAGE_replica_read && kind != MESSAGE_replica_write &&
            kind != MESSAGE_hint_store && kind != MESSAGE_forward_put) {
            /* The other requests between nodes have answers that start with a status. */
            bool request_of_kind = message_crosses_nodes(kind) && kind >= MESSAGE_tree_roots &&
                                   kind <= MESSAGE_key_explain &&
                                   (kind - MESSAGE_tree_roots) % 2 == 0;
            request_of_kind |= kind == MESSAGE_topology_document ||
                               kind == MESSAGE_topology_prepare ||
                               kind == MESSAGE_topology_accept || kind == MESSAGE_vnode_report ||
                               kind == MESSAGE_register_list;
            assert_int_equal(answer != NULL, request_of_kind);
            if (answer != NULL) {
                assert_int_equal(answer->kind, kind + 1);
                assert_int_equal(answer->tree_roots_reply.status, ERR_UNAVAILABLE);
                message_free(answer);
            }
            message_free(request);
            continue;
        }
        assert_true(actor_id_equal(answer->to, request->from));
        assert_true(actor_id_equal(answer->from, request->to));
        assert_int_equal(answer->id, 77);
        assert_int_equal(answer->deadline_ns, 123456);
        message_free(request);
        if (kind == MESSAGE_replica_read) {
            assert_int_equal(answer->kind, MESSAGE_replica_read_reply);
            assert_int_equal(answer->replica_read_reply.status, ERR_UNAVAILABLE);
            assert_int_equal(answer->replica_read_reply.record.size, 0);
        } else if (kind == MESSAGE_replica_write) {
            assert_int_equal(answer->kind, MESSAGE_replica_write_reply);
            assert_int_equal(answer->replica_write_reply.status, ERR_UNAVAILABLE);
        } else if (kind == MESSAGE_hint_store) {
            assert_int_equal(answer->kind, MESSAGE_hint_store_reply);
            assert_int_equal(answer->hint_store_reply.status, ERR_UNAVAILABLE);
        } else {
            const struct put_result *result = &answer->forward_put_reply.result;
            assert_int_equal(answer->kind, MESSAGE_forward_put_reply);
            assert_int_equal(result->status, ERR_UNAVAILABLE);
            assert_int_equal(result->outcome, OUTCOME_NOT_APPLIED);
            assert_non_null(result->why);
        }
        message_free(answer);
    }
}

/* A copied request outlives the message that it came in. */
static void put_copies_are_deep(void **state)
{
    (void)state;
    struct message *from = message_new(MESSAGE_client_put, 0);
    struct put_request *request = &from->client_put.request;
    request->keyspace_id = 3;
    request->key = arena_copy(&from->arena, bytes_of_string("key"));
    request->value = arena_copy(&from->arena, bytes_of_string("value"));
    request->context = arena_copy(&from->arena, bytes_of_string("ctx"));
    request->has_context = true;
    request->level = CONSISTENCY_QUORUM;
    struct message *to = message_new(MESSAGE_forward_put, 0);
    put_request_copy(&to->arena, request, &to->forward_put.request);
    struct message *answer = message_new(MESSAGE_forward_put_reply, 0);
    answer->forward_put_reply.result =
        (struct put_result){.status = ERR_UNAVAILABLE,
                            .outcome = OUTCOME_UNKNOWN,
                            .why = arena_printf(&answer->arena, "why %d", 1),
                            .context = arena_copy(&answer->arena, bytes_of_string("seen")),
                            .progress = {.acked = 1, .needed = 2}};
    struct message *done = message_new(MESSAGE_client_put_done, 0);
    put_result_copy(&done->arena, &answer->forward_put_reply.result, &done->client_put_done.result);
    message_free(from);
    message_free(answer);
    assert_true(bytes_equal(to->forward_put.request.key, bytes_of_string("key")));
    assert_true(bytes_equal(to->forward_put.request.value, bytes_of_string("value")));
    assert_true(bytes_equal(to->forward_put.request.context, bytes_of_string("ctx")));
    assert_true(to->forward_put.request.has_context);
    assert_int_equal(to->forward_put.request.level, CONSISTENCY_QUORUM);
    const struct put_result *result = &done->client_put_done.result;
    assert_string_equal(result->why, "why 1");
    assert_true(bytes_equal(result->context, bytes_of_string("seen")));
    assert_int_equal(result->outcome, OUTCOME_UNKNOWN);
    assert_int_equal(result->progress.needed, 2);
    message_free(to);
    message_free(done);
}

/* actor.h: only requests to a replica have a partition; all others name their shard themselves. */
static void message_partition_of_replica_requests(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < MESSAGE_KIND_COUNT; kind++) {
        struct message *message = message_new(kind, 0);
        uint32_t expected = UINT32_MAX;
        if (kind == MESSAGE_replica_mint)
            message->replica_mint.partition = expected = 11;
        else if (kind == MESSAGE_replica_write)
            message->replica_write.partition = expected = 12;
        else if (kind == MESSAGE_replica_read)
            message->replica_read.partition = expected = 13;
        else if (kind == MESSAGE_tree_roots)
            message->tree_roots.partition = expected = 14;
        else if (kind == MESSAGE_tree_read)
            message->tree_read.partition = expected = 15;
        else if (kind == MESSAGE_digest_read)
            message->digest_read.partition = expected = 16;
        else if (kind == MESSAGE_record_fetch)
            message->record_fetch.partition = expected = 17;
        else if (kind == MESSAGE_reap_seal)
            message->reap_seal.partition = expected = 18;
        else if (kind == MESSAGE_reap_remove)
            message->reap_remove.partition = expected = 19;
        else if (kind == MESSAGE_key_explain)
            message->key_explain.partition = expected = 20;
        else if (kind == MESSAGE_reap_scan)
            message->reap_scan.partition = expected = 21;
        else if (kind == MESSAGE_vnode_doubt)
            message->vnode_doubt.partition = expected = 22;
        else if (kind == MESSAGE_vnode_adopt)
            message->vnode_adopt.partition = expected = 23;
        else if (kind == MESSAGE_vnode_complete)
            message->vnode_complete.partition = expected = 24;
        else if (kind == MESSAGE_register_query)
            message->register_query.partition = expected = 25;
        else if (kind == MESSAGE_register_prepare)
            message->register_prepare.partition = expected = 26;
        else if (kind == MESSAGE_register_list)
            message->register_list.partition = expected = 29;
        else if (kind == MESSAGE_register_accept)
            message->register_accept.partition = expected = 27;
        assert_int_equal(message_partition(message), expected);
        message_free(message);
    }
    assert_int_equal(replica_shard(13, 4), 1);
}

/* -- actor and outbox -------------------------------------------------------------------------- */

struct test_actor {
    struct actor actor;
    uint32_t handled;
};

static void test_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    ((struct test_actor *)actor)->handled++;
    message->to = (struct actor_id){.node = 2, .kind = ACTOR_GOSSIP};
    outbox_send(ctx, actor, message);
}

static const struct actor_class test_class = {.name = "test", .handle = test_handle};

/* actor.h: what an actor leaves out is a no-op; NEVER_NS = no tick wanted. */
static void actor_class_may_be_sparse(void **state)
{
    (void)state;
    struct test_actor self = {0};
    actor_init(&self.actor, &test_class, (struct actor_id){.node = 1, .kind = ACTOR_COORDINATOR});
    struct actor_context ctx = {0};
    actor_tick(&self.actor, &ctx);
    actor_check(&self.actor);
    assert_true(actor_wake_at_ns(&self.actor) == NEVER_NS);
}

/* actor.h: in order; sender and epoch are filled in where they are not set, and only there. */
static void outbox_keeps_order_and_fills_in(void **state)
{
    (void)state;
    struct view *view = test_view(2, 1);
    struct test_actor self = {0};
    actor_init(&self.actor, &test_class,
               (struct actor_id){.node = 1, .kind = ACTOR_REPLICA, .index = 3});
    struct outbox outbox;
    outbox_init(&outbox);
    assert_null(outbox_take(&outbox));
    struct actor_context ctx = {.view = view, .outbox = &outbox};
    for (uint64_t i = 0; i < 5; i++) {
        struct message *message = message_new(MESSAGE_gossip_digest, 0);
        message->id = i;
        if (i == 2) {
            message->from = (struct actor_id){.node = 7, .kind = ACTOR_GOSSIP};
            message->epoch = 99;
        }
        actor_handle(&self.actor, &ctx, message);
    }
    assert_int_equal(self.handled, 5);
    assert_int_equal(outbox.count, 5);
    for (uint64_t i = 0; i < 5; i++) {
        struct message *message = outbox_take(&outbox);
        assert_int_equal(message->id, i);
        assert_null(message->next);
        assert_int_equal(message->from.node, i == 2 ? 7 : 1);
        assert_int_equal(message->from.index, i == 2 ? 0 : 3);
        assert_int_equal(message->epoch, i == 2 ? 99 : view->topology.epoch);
        message_free(message);
    }
    assert_null(outbox_take(&outbox));
    assert_int_equal(outbox.count, 0);
    view_unref(view);
}

/* -- view -------------------------------------------------------------------------------------- */

/* view.h: unknown is treated as alive, down is not, oneself is always alive. */
static void view_liveness_rules(void **state)
{
    (void)state;
    struct view *view = test_view(2, 1);
    assert_int_equal(view->topology.member_count, 8);
    assert_non_null(keyspace_map_find(&view->keyspaces, keyspace_builtin().name));
    assert_string_equal(topology_member(&view->topology, 3)->name, "n3");
    assert_int_equal(view_liveness(view, 3), LIVENESS_UNKNOWN);
    assert_true(view_alive(view, 3));
    for (uint32_t i = 0; i < view->topology.member_count; i++)
        view->members[i].liveness = LIVENESS_DOWN;
    assert_int_equal(view_liveness(view, 3), LIVENESS_DOWN);
    assert_false(view_alive(view, 3));
    assert_true(view_alive(view, 1));
    assert_int_equal(view_liveness(view, 4711), LIVENESS_UNKNOWN);
    view_unref(view);
}

/* view.h: the view lives while anyone holds it, a view_publish message included. */
static void view_is_counted(void **state)
{
    (void)state;
    struct view *view = test_view(1, 1);
    struct message *message = message_new(MESSAGE_view_publish, 0);
    message->view_publish.view = view_ref(view);
    assert_int_equal(view->references, 2);
    message_free(message);
    assert_int_equal(view->references, 1);
    view_unref(view);
}

/* view.h: the local data centre's replicas first, then the others'; N distinct nodes of each. */
static void view_replica_set_is_local_first(void **state)
{
    (void)state;
    for (uint32_t self = 1; self <= 8; self++) {
        struct view *view = test_view(2, self);
        struct keyspace keyspace = keyspace_default("orders");
        snprintf(keyspace.data_centers[0].name, sizeof keyspace.data_centers[0].name, "dc1");
        keyspace.data_centers[0].n = 2;
        keyspace.data_center_count = 1;
        uint8_t local = member_place(topology_member(&view->topology, self))->data_center;
        assert_int_equal(view->local_data_center, local);
        for (uint32_t partition = 0; partition < view->topology.partitions; partition++) {
            struct replica_set set;
            view_replica_set(view, &keyspace, partition, &set);
            assert_int_equal(set.count, 5);
            uint32_t local_count = local == 1 ? 2 : 3;
            for (uint32_t i = 0; i < set.count; i++) {
                uint8_t center = set.replicas[i].data_center;
                assert_int_equal(center, i < local_count ? local : 1 - local);
                assert_int_equal(
                    member_place(topology_member(&view->topology, set.replicas[i].member))
                        ->data_center,
                    center);
                for (uint32_t j = 0; j < i; j++)
                    assert_int_not_equal(set.replicas[i].member, set.replicas[j].member);
            }
            struct preference_list list;
            ring_preference_list(&view->topology, TOPOLOGY_NOW, local, partition, local_count,
                                 &list);
            assert_int_equal(set.replicas[0].member, list.members[0]);
        }
        view_unref(view);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_new_zeroes_every_body),
        cmocka_unit_test(message_arena_starts_in_the_same_block),
        cmocka_unit_test(message_kinds_that_cross_nodes),
        cmocka_unit_test(message_reply_is_addressed),
        cmocka_unit_test(message_undelivered_of_every_kind),
        cmocka_unit_test(put_copies_are_deep),
        cmocka_unit_test(message_partition_of_replica_requests),
        cmocka_unit_test(actor_class_may_be_sparse),
        cmocka_unit_test(outbox_keeps_order_and_fills_in),
        cmocka_unit_test(view_liveness_rules),
        cmocka_unit_test(view_is_counted),
        cmocka_unit_test(view_replica_set_is_local_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
