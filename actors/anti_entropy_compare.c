/* What the answers of an exchange say and what is asked next, from the roots down to the digests.
 */
#include "actors/anti_entropy_state.h"
#include "model/hash.h"

#include <stdlib.h>

#define TREE_HASHES_MAX   8192u /* of one question about nodes */
#define DIGEST_LEAVES_MAX 1024u /* of one question about leaves */

static const char *const TORN = "an answer cannot be read";
const char *const AE_DONE = "";

/* -- lists of nodes -----------------------------------------------------------------------------
 */

static void nodes_add(struct ae_nodes *nodes, uint32_t index)
{
    if (nodes->count == nodes->capacity) {
        nodes->capacity = nodes->capacity == 0 ? 64 : 2 * nodes->capacity;
        nodes->indices = realloc(nodes->indices, nodes->capacity * sizeof nodes->indices[0]);
        CHECK(nodes->indices != NULL);
    }
    nodes->indices[nodes->count++] = index;
}

static void nodes_swap(struct ae_nodes *a, struct ae_nodes *b)
{
    struct ae_nodes nodes = *a;
    *a = *b;
    *b = nodes;
}

/* -- the steps: each gives NULL, or why the exchange has to end ---------------------------------
 */

static bool keyspace_shared(const struct actor_context *ctx, const struct ae_exchange *exchange,
                            uint32_t id)
{
    const struct keyspace *keyspace = keyspace_map_find_id(&ctx->view->keyspaces, id);
    return keyspace != NULL && (exchange->only_keyspace == 0 || exchange->only_keyspace == id) &&
           ae_is_replica(ctx->view, keyspace, exchange->partition, exchange->members[0]) &&
           ae_is_replica(ctx->view, keyspace, exchange->partition, exchange->members[1]);
}

/* Told by a side that knows it to a side that does not know it yet: a directory that was lost took
 * the keyspaces with it. What the exchange leaves out for that is not proven, or a lost vnode would
 * vote without it. */
static bool keyspace_unheard_of(const struct actor_context *ctx, const struct ae_exchange *exchange,
                                uint32_t id)
{
    const struct keyspace_map *map = &ctx->view->keyspaces;
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->keyspaces[i].id == id)
            return false;
    }
    return exchange->only_keyspace == 0 || exchange->only_keyspace == id;
}

/* A copy that is filled and lags behind the other's floor has adopted none of this keyspace, or a
 * seal was later. It must not vote with that floor: it would take what was removed under the
 * greater one, and be emptied as soon as that is noticed, with what it has acknowledged meanwhile.
 */
static bool floor_lags_unfilled(const struct ae_exchange *exchange,
                                const struct ae_keyspace *keyspace)
{
    for (uint32_t side = 0; side < 2; side++) {
        if (!exchange->complete[side] && keyspace->floors[side] < keyspace->floors[1 - side])
            return true;
    }
    return false;
}

static void keyspace_add(struct ae_exchange *exchange, const struct exchange_root *a,
                         const struct exchange_root *b)
{
    const struct exchange_root *roots[2] = {a, b};
    struct ae_keyspace *keyspace = &exchange->keyspaces[exchange->keyspace_count];
    struct merkle_node nodes[2] = {{0}};
    *keyspace = (struct ae_keyspace){.id = a != NULL ? a->keyspace_id : b->keyspace_id};
    for (uint32_t side = 0; side < 2; side++) {
        if (roots[side] == NULL) {
            keyspace->empty[side] = true;
            continue;
        }
        nodes[side] = roots[side]->node;
        keyspace->empty[side] = nodes[side].count == 0;
        keyspace->floors[side] = roots[side]->floor;
        keyspace->reaped[side] = roots[side]->reaped;
        keyspace->incomplete[side] = roots[side]->incomplete;
    }
    keyspace->differs = !merkle_node_equal(nodes[0], nodes[1]);
    for (uint32_t side = 0; side < 2; side++) {
        if (!keyspace->empty[side] &&
            (keyspace->depth == 0 || roots[side]->depth < keyspace->depth))
            keyspace->depth = roots[side]->depth;
    }
    exchange->refused += floor_lags_unfilled(exchange, keyspace);
    if (keyspace->differs || keyspace->floors[0] != keyspace->floors[1])
        exchange->keyspace_count++;
}

/* The floor that lags is raised by an empty seal, so that records go both ways again: a round of
 * reaping that did not reach all leaves floors apart. It takes part in no removal: that needs what
 * a replica held when it was sealed, and this seal asks for nothing. A replica that lags behind
 * what was removed refuses it, and is emptied (message_range.h). */
static void align_begin(struct ae_exchange *exchange)
{
    const struct ae_keyspace *keyspace = ae_exchange_keyspace(exchange);
    ae_exchange_enter(exchange, AE_ALIGN,
                      keyspace->floors[0] < keyspace->floors[1] && exchange->complete[0] &&
                          !keyspace->incomplete[0],
                      keyspace->floors[1] < keyspace->floors[0] && exchange->complete[1] &&
                          !keyspace->incomplete[1]);
}

/* Those that the side says, or all that have records where it does not say which. One that is not
 * known here yet may have no root: nothing is proven. False: it cannot be read. */
static bool note_bad_keyspaces(struct anti_entropy *ae, const struct actor_context *ctx,
                               struct ae_exchange *exchange, uint32_t side,
                               const struct tree_roots_reply *reply)
{
    const struct keyspace_map *map = &ctx->view->keyspaces;
    struct exchange_indices ids = {0};
    if (!reply->bad_rows)
        return true;
    if (reply->bad_keyspaces.size > 0 &&
        exchange_indices_decode(&ae->scratch, reply->bad_keyspaces, (uint64_t)UINT32_MAX + 1,
                                &ids) != OK)
        return false;
    for (uint32_t i = 0; i < ids.count; i++) {
        if (keyspace_shared(ctx, exchange, ids.indices[i]))
            ae_exchange_note_lack(ae, exchange, side, ids.indices[i]);
        else if (keyspace_unheard_of(ctx, exchange, ids.indices[i]))
            exchange->refused++;
    }
    for (uint32_t i = 0; ids.count == 0 && i < map->count; i++) {
        if (map->keyspaces[i].mode != KEYSPACE_CONSISTENT &&
            keyspace_shared(ctx, exchange, map->keyspaces[i].id))
            ae_exchange_note_lack(ae, exchange, side, map->keyspaces[i].id);
    }
    return true;
}

/* A copy of it is being filled, and has exchanges of its own for that. Was it lost, and is read, a
 * vnode that was lost too need not wait for it: that keyspace is filled by itself there as well. A
 * copy that drops out of the set, as of a change that is taken back, nobody fills any more; that it
 * goes may wait for who would wait for it here. */
static void leave_out(const struct anti_entropy *ae, const struct actor_context *ctx,
                      struct ae_exchange *exchange, uint32_t keyspace_id,
                      const struct exchange_root *const roots[2])
{
    const struct keyspace *keyspace = keyspace_map_find_id(&ctx->view->keyspaces, keyspace_id);
    bool copied = ctx->view->topology.phases[exchange->partition] == PHASE_COPIED;
    exchange->left_out = true;
    for (uint32_t side = 0; side < 2; side++) {
        enum replica_role role =
            view_role(ctx->view, keyspace, exchange->partition, exchange->members[side]);
        bool drops_out = copied && role == ROLE_WRITER;
        if (roots[side] == NULL || !roots[side]->incomplete || drops_out)
            continue;
        if (role == ROLE_READER && keyspace->mode != KEYSPACE_CONSISTENT)
            ae_exchange_note_lack(ae, exchange, side, keyspace_id);
        else
            exchange->waits = true;
    }
}

const char *ae_compare_roots_answered(struct anti_entropy *ae, struct actor_context *ctx,
                                      struct ae_exchange *exchange)
{
    struct exchange_roots roots[2];
    for (uint32_t side = 0; side < 2; side++) {
        const struct tree_roots_reply *reply = &exchange->asks[side].answer->tree_roots_reply;
        exchange->complete[side] = reply->complete;
        if (exchange->members[side] != ae->options.self)
            exchange->unfit = reply->unfit;
        if (exchange_roots_decode(&ae->scratch, reply->roots, &roots[side]) != OK ||
            !note_bad_keyspaces(ae, ctx, exchange, side, reply))
            return TORN;
        if (!reply->complete && exchange->members[side] != ae->options.self &&
            exchange->reason == AE_SCHEDULE)
            return "the peer is being filled and drives by itself";
    }
    exchange->keyspaces = ARENA_NEW(&exchange->arena, struct ae_keyspace,
                                    (size_t)roots[0].count + roots[1].count + 1);
    for (uint32_t i = 0, j = 0; i < roots[0].count || j < roots[1].count;) {
        const struct exchange_root *a = i < roots[0].count ? &roots[0].roots[i] : NULL;
        const struct exchange_root *b = j < roots[1].count ? &roots[1].roots[j] : NULL;
        if (a != NULL && b != NULL && a->keyspace_id != b->keyspace_id) {
            if (a->keyspace_id < b->keyspace_id)
                b = NULL;
            else
                a = NULL;
        }
        i += a != NULL;
        j += b != NULL;
        uint32_t id = a != NULL ? a->keyspace_id : b->keyspace_id;
        bool filling = (a != NULL && a->incomplete) || (b != NULL && b->incomplete);
        if (filling && exchange->reason != AE_GAIN && keyspace_shared(ctx, exchange, id))
            leave_out(ae, ctx, exchange, id, (const struct exchange_root *const[2]){a, b});
        else if (keyspace_shared(ctx, exchange, id))
            keyspace_add(exchange, a, b);
        else if (keyspace_unheard_of(ctx, exchange, id))
            exchange->refused++;
    }
    if (exchange->keyspace_count == 0)
        return AE_DONE;
    align_begin(exchange);
    return NULL;
}

static void leaves_begin(struct ae_exchange *exchange)
{
    exchange->front_from = exchange->front_to = 0;
    exchange->page_more = false;
    ae_exchange_enter(exchange, AE_DIGESTS, false, false);
}

static void descent_begin(struct ae_exchange *exchange)
{
    const struct ae_keyspace *keyspace = ae_exchange_keyspace(exchange);
    exchange->front.count = exchange->next.count = 0;
    exchange->front_from = exchange->front_to = 0;
    exchange->level = 0;
    if (keyspace->empty[0] || keyspace->empty[1]) {
        /* No need to compare with nothing. */
        exchange->level = keyspace->depth;
        for (uint32_t leaf = 0; leaf < (uint32_t)1 << keyspace->depth; leaf++)
            nodes_add(&exchange->front, leaf);
        leaves_begin(exchange);
        return;
    }
    nodes_add(&exchange->front, 0);
    ae_exchange_enter(exchange, AE_TREE, false, false);
}

const char *ae_compare_align_answered(struct anti_entropy *ae, struct ae_exchange *exchange)
{
    struct ae_keyspace *keyspace = ae_exchange_keyspace(exchange);
    for (uint32_t side = 0; side < 2; side++) {
        const struct message *answer = exchange->asks[side].answer;
        if (answer == NULL)
            continue;
        if (answer->reap_seal_reply.status == OK)
            counter_add(&ae->figures.floors_raised, 1);
        keyspace->floors[side] = answer->reap_seal_reply.floor;
    }
    if (keyspace->differs)
        descent_begin(exchange);
    else if (++exchange->keyspace_at == exchange->keyspace_count)
        return AE_DONE;
    else
        align_begin(exchange);
    return NULL;
}

/* Chunks the front; false: all of it has been asked about. */
static bool chunk_next(struct ae_exchange *exchange, uint32_t nodes_max)
{
    if (exchange->front_to == exchange->front.count)
        return false;
    exchange->front_from = exchange->front_to;
    uint32_t left = exchange->front.count - exchange->front_from;
    exchange->front_to = exchange->front_from + (left < nodes_max ? left : nodes_max);
    return true;
}

const char *ae_compare_tree_answered(struct anti_entropy *ae, struct ae_exchange *exchange)
{
    struct exchange_indices nodes = ae_exchange_chunk(exchange);
    uint32_t count = nodes.count << exchange->fanout_bits;
    const uint32_t *hashes[2];
    for (uint32_t side = 0; side < 2; side++) {
        const struct tree_read_reply *reply = &exchange->asks[side].answer->tree_read_reply;
        if (reply->level != exchange->level + exchange->fanout_bits)
            return "a tree has got another depth meanwhile";
        if (exchange_hashes_decode(&ae->scratch, reply->hashes, count, &hashes[side]) != OK)
            return TORN;
    }
    uint32_t children = (uint32_t)1 << exchange->fanout_bits;
    for (uint32_t i = 0; i < count; i++) {
        if (hashes[0][i] != hashes[1][i])
            nodes_add(&exchange->next, nodes.indices[i / children] * children + i % children);
    }
    ae_exchange_enter(exchange, AE_TREE, false, false);
    return NULL;
}

static const char *keyspace_next(struct ae_exchange *exchange)
{
    if (++exchange->keyspace_at == exchange->keyspace_count)
        return AE_DONE;
    align_begin(exchange);
    return NULL;
}

/* Asks about the next nodes, of this level or of the one below. */
const char *ae_compare_tree_next(struct ae_exchange *exchange)
{
    const struct ae_keyspace *keyspace = ae_exchange_keyspace(exchange);
    if (exchange->front_to == exchange->front.count) {
        if (exchange->front_to > 0) {
            exchange->level += exchange->fanout_bits;
            nodes_swap(&exchange->front, &exchange->next);
            exchange->next.count = 0;
            exchange->front_from = exchange->front_to = 0;
        }
        if (exchange->front.count == 0)
            return keyspace_next(exchange);
        if (exchange->level == keyspace->depth) {
            leaves_begin(exchange);
            return NULL;
        }
    }
    if (exchange->front_from == exchange->front_to)
        exchange->fanout_bits =
            merkle_fanout_bits(exchange->front.count, exchange->level, keyspace->depth);
    uint32_t nodes_max = TREE_HASHES_MAX >> exchange->fanout_bits;
    CHECK(chunk_next(exchange, nodes_max > 0 ? nodes_max : 1));
    ae_exchange_enter(exchange, AE_TREE, true, true);
    return NULL;
}

/* -- pages of digests ---------------------------------------------------------------------------
 */

const char *ae_compare_digests_next(struct ae_exchange *exchange)
{
    const struct ae_keyspace *keyspace = ae_exchange_keyspace(exchange);
    arena_clear(&exchange->page);
    if (exchange->page_more) {
        exchange->page_from = exchange->page_through + 1;
    } else {
        if (!chunk_next(exchange, DIGEST_LEAVES_MAX))
            return keyspace_next(exchange);
        exchange->page_from = 0;
    }
    ae_exchange_enter(exchange, AE_DIGESTS, !keyspace->empty[0], !keyspace->empty[1]);
    return NULL;
}

/* Both answers are whole up to the lesser end; what one says beyond is asked again. */
const char *ae_compare_digests_answered(struct anti_entropy *ae, struct ae_exchange *exchange)
{
    uint32_t partitions = ae->options.partitions;
    uint32_t keyspace_id = ae_exchange_keyspace(exchange)->id;
    struct exchange_digests digests[2] = {{0}};
    exchange->page_more = false;
    exchange->page_through = UINT64_MAX;
    for (uint32_t side = 0; side < 2; side++) {
        const struct message *answer = exchange->asks[side].answer;
        if (answer == NULL)
            continue;
        const struct digest_read_reply *reply = &answer->digest_read_reply;
        if (reply->bad_rows)
            ae_exchange_note_lack(ae, exchange, side, keyspace_id);
        if (exchange_digests_decode(&exchange->page, reply->digests, exchange->level,
                                    &digests[side]) != OK ||
            (reply->more &&
             (reply->through_hash < exchange->page_from || reply->through_hash == UINT64_MAX)))
            return TORN;
        if (!reply->more)
            continue;
        exchange->page_more = true;
        if (reply->through_hash < exchange->page_through)
            exchange->page_through = reply->through_hash;
    }
    if (exchange->page_more) {
        if (hash_partition(exchange->page_through, partitions) != exchange->partition)
            return TORN;
        uint32_t last = exchange_place(partitions, exchange->level, exchange->page_through);
        for (uint32_t side = 0; side < 2; side++) {
            while (digests[side].count > 0 &&
                   digests[side].digests[digests[side].count - 1].place > last)
                digests[side].count--;
        }
    }
    ae_transfer_plan(exchange, digests);
    ae_exchange_enter(exchange, AE_FETCH, false, false);
    return NULL;
}

const char *ae_compare_fetch_next(struct ae_exchange *exchange)
{
    if (!ae_transfer_next(exchange)) {
        ae_exchange_enter(exchange, AE_DIGESTS, false, false);
        return NULL;
    }
    uint32_t source = exchange->legs[exchange->leg].source;
    ae_exchange_enter(exchange, AE_FETCH, source == 0, source == 1);
    return NULL;
}
