/* Registers of a partition that goes over: all that the old set knows of is decided once more, with
 * majorities of both sets (message_range.h). What was decided before lies at a majority of the old
 * set, so a majority of it is listed, and then each key is settled by a coordinator of this node;
 * what is decided afterwards has a majority of the new set by itself.
 *
 * Pages of all sources go side by side: what all of them have shown is taken together, so each key
 * is settled once, however many list it. */
#include "actors/anti_entropy_state.h"

#include "base/codec.h"
#include "model/hash.h"

#include <stdlib.h>

#define WINDOW    16u /* keys under way */
#define SETTLE_NS ((uint64_t)10 * 1000 * 1000 * 1000)
#define RETRY_NS  ((uint64_t)100 * 1000 * 1000)
/* Nobody waits for one copy's votes as for a change, and it may have to wait for long. */
#define RETRY_VOTES_NS ((uint64_t)1000 * 1000 * 1000)
#define NS_PER_MS      ((uint64_t)1000 * 1000)
/* For so long nobody is said to be missing who only has not answered yet. */
#define ASKED_JUST_NOW_NS ((uint64_t)1000 * 1000 * 1000)

struct settle_key {
    struct bytes name;
    struct bytes key; /* storage key */
};

struct settle_flight {
    uint64_t id; /* 0: a free place */
    uint32_t key;
    uint64_t late_ns;
};

struct ae_settle {
    uint64_t waiting;  /* sources whose page is awaited, by slot */
    uint64_t answered; /* and those that gave one */
    uint64_t fenced;   /* or refused as having lost its own; since the first page, by slot */
    struct message *pages[MEMBERS_MAX]; /* owned */
    uint64_t late_ns;
    bool more; /* behind this page */
    size_t after_size;
    uint8_t after[STORAGE_KEY_BYTES_MAX];
    /* of the page */
    struct arena arena;
    bool settling;
    uint32_t count;
    struct settle_key *keys; /* ascending, each once */
    uint32_t next;
    uint32_t settled;
    struct settle_flight flights[WINDOW];
    uint64_t wake_ns;
    uint64_t advanced_ns; /* when a page or a key was done last */
};

uint64_t ae_settle_advanced_ns(const struct ae_gain *gain)
{
    return gain->settle->advanced_ns;
}

static uint64_t retry_of(const struct ae_gain *gain)
{
    return gain->votes ? RETRY_VOTES_NS : RETRY_NS;
}

static void pages_drop(struct ae_settle *settle)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        message_free(settle->pages[i]);
        settle->pages[i] = NULL;
    }
    settle->waiting = settle->answered = 0;
}

void ae_settle_free(struct ae_gain *gain)
{
    if (gain->settle == NULL)
        return;
    pages_drop(gain->settle);
    arena_deinit(&gain->settle->arena);
    free(gain->settle);
    gain->settle = NULL;
}

uint64_t ae_settle_wake_ns(const struct ae_gain *gain)
{
    return gain->settle->wake_ns;
}

bool ae_settle_is_refused(const struct ae_gain *gain)
{
    return !gain->settle->settling && gain->settle->waiting == 0;
}

/* -- listing
 * -------------------------------------------------------------------------------------------- */

static uint64_t sources_of(const struct anti_entropy *ae, const struct actor_context *ctx,
                           const struct ae_gain *gain)
{
    uint64_t self = gain->compares ? ae_member_bit(ae, ae->options.self) : 0;
    return ae_gain_sources(ae, ctx, gain) | self;
}

/* Of the old set, those that are gone counted. */
static uint32_t sources_all(const struct actor_context *ctx, const struct ae_gain *gain)
{
    const struct keyspace *keyspace =
        keyspace_map_find_id(&ctx->view->keyspaces, gain->keyspace_id);
    uint32_t count = 0;
    struct replica_set set;
    view_replica_set(ctx->view, keyspace, gain->partition, &set);
    for (uint32_t i = 0; i < set.count; i++)
        count += (set.replicas[i].sides & 1u << TOPOLOGY_NOW) != 0;
    return count;
}

/* One more than half of the old set. Of an acceptor that begins anew: more than that
 * (model/register.h). */
static bool has_enough(const struct anti_entropy *ae, const struct actor_context *ctx,
                       const struct ae_gain *gain)
{
    const struct ae_settle *settle = gain->settle;
    uint32_t all = sources_all(ctx, gain);
    if (gain->votes)
        return register_renewal_listed(all, sources_of(ae, ctx, gain), settle->fenced,
                                       settle->answered);
    return (uint32_t)__builtin_popcountll(settle->answered) > all / 2;
}

uint64_t ae_settle_lacks(const struct anti_entropy *ae, const struct actor_context *ctx,
                         const struct ae_gain *gain, uint64_t *ret_emptied)
{
    const struct ae_settle *settle = gain->settle;
    uint64_t lacks = settle == NULL || settle->settling ? 0 : sources_of(ae, ctx, gain);
    *ret_emptied = 0;
    if (lacks == 0)
        return 0;
    lacks &= ~settle->answered;
    if (ctx->now_ns < settle->advanced_ns + ASKED_JUST_NOW_NS)
        lacks &= ~settle->waiting;
    *ret_emptied = lacks & settle->fenced;
    return lacks;
}

static void list_ask(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    struct ae_settle *settle = gain->settle;
    uint64_t sources = sources_of(ae, ctx, gain);
    pages_drop(settle);
    gain->id = ae_id(ae, AE_OWNER_GAIN, 0);
    settle->late_ns = ctx->now_ns + ae->options.late_ns;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if ((sources >> slot & 1) == 0 || !ae_reachable(ctx, ae->slots[slot]))
            continue;
        struct message *message =
            ae_message(MESSAGE_register_list, ae->slots[slot], gain->id, settle->after_size);
        message->deadline_ns = settle->late_ns;
        message->register_list = (struct register_list){
            .partition = gain->partition,
            .keyspace_id = gain->keyspace_id,
            .after = arena_copy(&message->arena, bytes_of(settle->after, settle->after_size))};
        settle->waiting |= (uint64_t)1 << slot;
        outbox_send(ctx, &ae->actor, message);
    }
}

/* The end of what all have shown: the least end of a page that goes on. */
static struct bytes page_bound(const struct ae_settle *settle)
{
    struct bytes bound = {0};
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (settle->pages[slot] == NULL || !settle->pages[slot]->register_list_reply.more)
            continue;
        struct bytes last = settle->pages[slot]->register_list_reply.last;
        if (bound.size == 0 || bytes_compare(last, bound) < 0)
            bound = last;
    }
    return bound;
}

static int compare_keys(const void *a, const void *b)
{
    const struct settle_key *x = a;
    const struct settle_key *y = b;
    return bytes_compare(x->key, y->key);
}

static bool page_count(struct bytes keys, uint32_t *count)
{
    struct reader reader = reader_of(keys);
    while (reader_left(&reader) != 0 && !reader.failed) {
        reader_sized_bytes(&reader, KEY_BYTES_MAX);
        ++*count;
    }
    return reader_done(&reader);
}

static void page_add(struct ae_settle *settle, uint32_t keyspace_id, struct bytes keys,
                     struct bytes bound)
{
    struct reader reader = reader_of(keys);
    while (reader_left(&reader) != 0) {
        uint8_t memory[STORAGE_KEY_BYTES_MAX];
        struct bytes name = reader_sized_bytes(&reader, KEY_BYTES_MAX);
        struct bytes key = bytes_of(
            memory, hash_storage_key(keyspace_id, name, hash_key(keyspace_id, name), memory));
        if (bound.size != 0 && bytes_compare(key, bound) > 0)
            continue;
        settle->keys[settle->count++] = (struct settle_key){
            .name = arena_copy(&settle->arena, name), .key = arena_copy(&settle->arena, key)};
    }
}

/* False: an answer cannot be read. */
static bool page_take(struct anti_entropy *ae, struct ae_gain *gain)
{
    struct ae_settle *settle = gain->settle;
    struct bytes bound = page_bound(settle);
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        const struct message *page = settle->pages[slot];
        if (page == NULL)
            continue;
        const struct register_list_reply *reply = &page->register_list_reply;
        if (!page_count(reply->keys, &count) || reply->last.size > STORAGE_KEY_BYTES_MAX ||
            (reply->more && reply->last.size == 0)) {
            counter_add(&ae->figures.corrupt, 1);
            return false;
        }
    }
    arena_clear(&settle->arena);
    settle->keys = ARENA_NEW(&settle->arena, struct settle_key, count + 1);
    settle->count = settle->next = settle->settled = 0;
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        if (settle->pages[slot] != NULL)
            page_add(settle, gain->keyspace_id, settle->pages[slot]->register_list_reply.keys,
                     bound);
    }
    qsort(settle->keys, settle->count, sizeof settle->keys[0], compare_keys);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < settle->count; i++) {
        if (kept == 0 || !bytes_equal(settle->keys[kept - 1].key, settle->keys[i].key))
            settle->keys[kept++] = settle->keys[i];
    }
    settle->count = kept;
    settle->more = bound.size != 0;
    if (bound.size != 0)
        memcpy(settle->after, bound.data, bound.size);
    settle->after_size = bound.size;
    pages_drop(settle);
    settle->settling = true;
    return true;
}

void ae_settle_listed(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain,
                      struct message *message)
{
    struct ae_settle *settle = gain->settle;
    uint64_t bit = ae_member_bit(ae, message->from.node);
    (void)ctx;
    if (settle == NULL || settle->settling || (settle->waiting & bit) == 0) {
        counter_add(&ae->figures.late, 1);
        message_free(message);
        return;
    }
    settle->waiting &= ~bit;
    /* Both are said by who has the epoch of the question in force. */
    if (message->register_list_reply.status == OK ||
        message->register_list_reply.status == ERR_INCOMPLETE)
        settle->fenced |= bit;
    if (message->register_list_reply.status == OK) {
        settle->answered |= bit;
        settle->pages[ae_member_slot(ae, message->from.node)] = message;
    } else {
        message_free(message);
    }
    gain->wake_ns = 0;
}

/* -- settling
 * -------------------------------------------------------------------------------------------- */

static void settle_send(struct anti_entropy *ae, struct actor_context *ctx,
                        const struct ae_gain *gain, struct settle_flight *flight)
{
    const struct settle_key *key = &gain->settle->keys[flight->key];
    flight->id = ae_id(ae, AE_OWNER_SETTLE, 0);
    flight->late_ns = ctx->now_ns + SETTLE_NS;
    struct message *message = message_new(MESSAGE_register_settle, key->name.size);
    message->to = (struct actor_id){.node = ae->options.self, .kind = ACTOR_COORDINATOR};
    message->id = flight->id;
    message->deadline_ns = flight->late_ns;
    message->register_settle = (struct register_settle){
        .keyspace_id = gain->keyspace_id, .key = arena_copy(&message->arena, key->name)};
    outbox_send(ctx, &ae->actor, message);
}

static bool settle_done(struct anti_entropy *ae, const struct actor_context *ctx,
                        struct ae_gain *gain, const struct message *message)
{
    for (uint32_t j = 0; gain->settle != NULL && j < WINDOW; j++) {
        struct settle_flight *flight = &gain->settle->flights[j];
        if (flight->id == 0 || flight->id != message->id)
            continue;
        if (message->register_settle_done.status != OK) {
            flight->late_ns = ctx->now_ns + retry_of(gain); /* then it is sent again */
        } else {
            flight->id = 0;
            gain->settle->settled++;
            gain->settle->advanced_ns = ctx->now_ns;
            counter_add(&ae->figures.registers_settled, 1);
        }
        gain->wake_ns = 0;
        gain->next_ns = gain->votes ? ctx->now_ns : gain->next_ns;
        return true;
    }
    return false;
}

void ae_settle_done(struct anti_entropy *ae, struct actor_context *ctx,
                    const struct message *message)
{
    bool found = false;
    for (uint32_t i = 0; i < ae->gains.count && !found; i++)
        found = settle_done(ae, ctx, &ae->gains.list[i], message);
    for (uint32_t i = 0; i < ae->vote_count && !found; i++)
        found = settle_done(ae, ctx, &ae->votes[i], message);
    if (!found)
        counter_add(&ae->figures.late, 1);
}

/* Fills the window; sends again what is late or was refused. */
static void settle_keys(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    struct ae_settle *settle = gain->settle;
    settle->wake_ns = NEVER_NS;
    for (uint32_t i = 0; i < WINDOW; i++) {
        struct settle_flight *flight = &settle->flights[i];
        if (flight->id == 0 && settle->next < settle->count) {
            flight->key = settle->next++;
            settle_send(ae, ctx, gain, flight);
        } else if (flight->id != 0 && flight->late_ns <= ctx->now_ns) {
            settle_send(ae, ctx, gain, flight);
        }
        if (flight->id != 0 && flight->late_ns < settle->wake_ns)
            settle->wake_ns = flight->late_ns;
    }
}

bool ae_settle_step(struct anti_entropy *ae, struct actor_context *ctx, struct ae_gain *gain)
{
    uint64_t retry_ns = retry_of(gain);
    if (gain->settle == NULL) {
        gain->settle = calloc(1, sizeof *gain->settle);
        CHECK(gain->settle != NULL);
        arena_init(&gain->settle->arena, NULL, 0);
        gain->settle->advanced_ns = ctx->now_ns;
        list_ask(ae, ctx, gain);
    }
    struct ae_settle *settle = gain->settle;
    if (!settle->settling) {
        bool late = settle->late_ns <= ctx->now_ns;
        bool enough = has_enough(ae, ctx, gain);
        if ((settle->waiting == 0 || late) && enough && page_take(ae, gain))
            gain->id = 0;
        else if (late)
            list_ask(ae, ctx, gain);
        /* Refused at once by too many: asked again after a while, which further steps do not put
         * off. */
        if (!settle->settling && settle->waiting == 0 && !enough &&
            settle->late_ns > ctx->now_ns + retry_ns)
            settle->late_ns = ctx->now_ns + retry_ns;
        settle->wake_ns = settle->late_ns;
        if (!settle->settling)
            return false;
    }
    settle_keys(ae, ctx, gain);
    if (settle->settled < settle->count)
        return false;
    if (!settle->more)
        return true;
    settle->settling = false;
    settle->advanced_ns = ctx->now_ns;
    list_ask(ae, ctx, gain);
    settle->wake_ns = settle->late_ns;
    return false;
}
