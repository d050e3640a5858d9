/* The acceptor of registers (model/register.h): what this vnode has promised and accepted of the
 * keys of consistent keyspaces. An answer leaves when all that it speaks of is durable. */
#include "actors/replica_state.h"

#include "base/mutation.h"

#define ROW_FORMAT     ((uint8_t)'R')
#define CHECKSUM_BYTES 8u

enum err replica_admit_mode(const struct actor_context *ctx, uint32_t keyspace_id,
                            enum keyspace_mode mode)
{
    const struct keyspace *keyspace = keyspace_map_find_id(&ctx->view->keyspaces, keyspace_id);
    if (keyspace == NULL)
        return mode == KEYSPACE_AVAILABLE ? OK : ERR_NOT_FOUND;
    return keyspace->mode == mode ? OK : ERR_PRECONDITION;
}

/* -- rows
 * ----------------------------------------------------------------------------------------- */

struct bytes register_row_encode(struct arena *arena, uint32_t keyspace_id, struct bytes key,
                                 const struct register_state *state)
{
    struct writer writer;
    struct bytes inner = register_state_encode(arena, state);
    writer_init(&writer, arena, 1 + inner.size + CHECKSUM_BYTES);
    writer_u8(&writer, ROW_FORMAT);
    writer_bytes(&writer, inner);
    writer_u64(&writer, hash_bytes(writer_result(&writer), hash_key(keyspace_id, key)));
    return writer_result(&writer);
}

bool register_row_is(struct bytes row)
{
    return row.size != 0 && row.data[0] == ROW_FORMAT;
}

enum err register_row_decode(uint32_t keyspace_id, struct bytes key, struct bytes row,
                             struct register_state *ret_state)
{
    /* A sound row of another format than a record's. */
    enum err err = record_verify(keyspace_id, key, row);
    if (err == OK || !register_row_is(row))
        return ERR_CORRUPT;
    if (err != ERR_UNSUPPORTED)
        return err;
    return register_state_decode(bytes_of(row.data + 1, row.size - 1 - CHECKSUM_BYTES), ret_state);
}

/* -- votes
 * ---------------------------------------------------------------------------------------- */

struct vote {
    uint32_t partition;
    uint32_t keyspace_id;
    struct bytes key;
    struct local_state state;
    struct register_state held;
    bool mute; /* what comes of it is kept, and not told */
};

/* What is held of the register, for one who may vote. */
static enum err vote_begin(struct replica *replica, struct actor_context *ctx,
                           const struct message *message, struct vote *vote)
{
    enum err err = replica_admit(replica, ctx, message);
    if (err == OK)
        err = replica_admit_mode(ctx, vote->keyspace_id, KEYSPACE_CONSISTENT);
    if (err != OK)
        return err;
    err = replica_fence(replica, ctx, message, vote->keyspace_id, FENCE_WRITE);
    const struct vnode *vnode = NULL;
    if (err == OK) {
        vnode = vnode_of(&replica->vnodes, vote->partition);
        err = vnode_votes(vnode, vote->keyspace_id);
    }
    vote->mute = err == ERR_INCOMPLETE && message->kind != MESSAGE_register_query &&
                 vnode != NULL && vnode_learns(vnode, vote->keyspace_id, message->epoch);
    if (vote->mute)
        err = OK;
    if (err == OK)
        err = replica_load_register(replica, ctx, vote->partition, vote->keyspace_id, vote->key,
                                    &vote->state, &vote->held);
    if (err == ERR_INCOMPLETE || err == ERR_CORRUPT)
        counter_add(&replica->figures.register_refused, 1);
    return err;
}

static enum err vote_store(struct replica *replica, struct actor_context *ctx,
                           const struct vote *vote)
{
    return replica_store_register(replica, ctx, vote->partition, vote->key, &vote->state,
                                  &vote->held);
}

/* INCOMPLETE: it was learned, and is no vote. */
static enum err vote_end(struct replica *replica, const struct vote *vote, enum err err)
{
    if (!vote->mute || err != OK)
        return err;
    counter_add(&replica->figures.register_refused, 1);
    return ERR_INCOMPLETE;
}

static void vote_answer(struct replica *replica, struct actor_context *ctx, struct message *answer,
                        const struct vote *vote, enum err status)
{
    uint64_t sequence = status == OK ? replica_sequence(replica, vote->state.hash, 0) : 0;
    if ((MUTATE(REGISTER_PROMISE_NOT_SYNCED) && answer->kind == MESSAGE_register_prepare_reply) ||
        (MUTATE(REGISTER_ACCEPT_NOT_SYNCED) && answer->kind == MESSAGE_register_accept_reply))
        sequence = 0;
    replica_answer(replica, ctx, answer, sequence);
}

void replica_on_register_query(struct replica *replica, struct actor_context *ctx,
                               const struct message *message)
{
    const struct register_query *query = &message->register_query;
    struct message *answer = message_new_reply(message, MESSAGE_register_query_reply, 0);
    struct register_query_reply *reply = &answer->register_query_reply;
    struct vote vote = {
        .partition = query->partition, .keyspace_id = query->keyspace_id, .key = query->key};
    counter_add(&replica->figures.register_queries, 1);
    reply->status = vote_begin(replica, ctx, message, &vote);
    if (reply->status == OK) {
        reply->promised = vote.held.promised;
        reply->accepted = vote.held.accepted;
        reply->value = arena_copy(&answer->arena, vote.held.value);
    }
    vote_answer(replica, ctx, answer, &vote, reply->status);
}

void replica_on_register_prepare(struct replica *replica, struct actor_context *ctx,
                                 const struct message *message)
{
    const struct register_prepare *prepare = &message->register_prepare;
    struct message *answer = message_new_reply(message, MESSAGE_register_prepare_reply, 0);
    struct register_prepare_reply *reply = &answer->register_prepare_reply;
    struct vote vote = {
        .partition = prepare->partition, .keyspace_id = prepare->keyspace_id, .key = prepare->key};
    enum err err = vote_begin(replica, ctx, message, &vote);
    if (err == OK && ballot_compare(vote.held.promised, prepare->ballot) == 0) {
        reply->agreed = true; /* asked again: that is promised, and durable before we say so */
    } else if (err == OK) {
        reply->agreed =
            register_prepare(&vote.held, (struct ballot){0}, prepare->ballot, &reply->conflict);
        if (reply->agreed)
            err = vote_store(replica, ctx, &vote);
    }
    err = vote_end(replica, &vote, err);
    if (err == OK && reply->agreed) {
        counter_add(&replica->figures.register_promises, 1);
        reply->accepted = vote.held.accepted;
        reply->value = arena_copy(&answer->arena, vote.held.value);
    } else {
        counter_add(&replica->figures.register_conflicts, err == OK);
        reply->agreed = false;
    }
    reply->status = err;
    vote_answer(replica, ctx, answer, &vote, err);
}

void replica_on_register_accept(struct replica *replica, struct actor_context *ctx,
                                const struct message *message)
{
    const struct register_accept *accept = &message->register_accept;
    struct message *answer = message_new_reply(message, MESSAGE_register_accept_reply, 0);
    struct register_accept_reply *reply = &answer->register_accept_reply;
    struct vote vote = {
        .partition = accept->partition, .keyspace_id = accept->keyspace_id, .key = accept->key};
    enum err err = vote_begin(replica, ctx, message, &vote);
    bool again = err == OK && ballot_compare(vote.held.accepted, accept->ballot) == 0 &&
                 vote.held.promised.counter == 0;
    if (err == OK)
        reply->agreed = register_accept(&vote.held, (struct ballot){0}, accept->ballot,
                                        accept->value, &reply->conflict);
    if (err == OK && reply->agreed && !again)
        err = vote_store(replica, ctx, &vote);
    err = vote_end(replica, &vote, err);
    if (err == OK && reply->agreed)
        counter_add(&replica->figures.register_accepts, 1);
    else
        counter_add(&replica->figures.register_conflicts, err == OK);
    reply->agreed &= err == OK;
    reply->status = err;
    vote_answer(replica, ctx, answer, &vote, err);
}

/* -- keys
 * ----------------------------------------------------------------------------------------- */

#define LIST_ROWS  2000u /* that one answer looks at */
#define LIST_BYTES ((size_t)128 << 10)

struct list {
    struct replica *replica;
    struct actor_context *ctx;
    const struct register_list *asked;
    struct writer writer;
    size_t last_size;
    uint8_t last[STORAGE_KEY_BYTES_MAX];
    uint32_t rows;
    bool more;
};

static bool list_row(void *closure, struct bytes key, struct bytes value)
{
    struct list *list = closure;
    uint64_t hash;
    uint32_t keyspace_id;
    struct bytes name;
    if (list->rows == LIST_ROWS || writer_result(&list->writer).size >= LIST_BYTES) {
        list->more = true;
        return false;
    }
    list->rows++;
    CHECK_U64(key.size, <=, sizeof list->last);
    memcpy(list->last, key.data, key.size);
    list->last_size = key.size;
    if (!hash_storage_key_parse(key, &hash, &keyspace_id, &name))
        return true;
    /* A row that cannot be read counts as a register: whoever settles it asks all of them. */
    if (keyspace_id == list->asked->keyspace_id && name.size <= KEY_BYTES_MAX)
        writer_sized_bytes(&list->writer, name);
    (void)value;
    return true;
}

static enum err list_keys(struct replica *replica, struct actor_context *ctx,
                          const struct register_list *asked, struct arena *arena,
                          struct register_list_reply *reply)
{
    struct list list = {.replica = replica, .ctx = ctx, .asked = asked};
    uint8_t from[STORAGE_KEY_BYTES_MAX + 1];
    if (asked->after.size > STORAGE_KEY_BYTES_MAX)
        return ERR_INVALID;
    if (asked->after.size != 0)
        memcpy(from, asked->after.data, asked->after.size);
    from[asked->after.size] = 0; /* the next key that there can be */
    writer_init(&list.writer, arena, 1024);
    enum err err = store_scan(ctx->store, asked->partition,
                              bytes_of(from, asked->after.size == 0 ? 0 : asked->after.size + 1),
                              (struct bytes){0}, list_row, &list);
    reply->more = list.more;
    reply->last = arena_copy(arena, bytes_of(list.last, list.last_size));
    reply->keys = writer_result(&list.writer);
    return err;
}

void replica_on_register_list(struct replica *replica, struct actor_context *ctx,
                              const struct message *message)
{
    const struct register_list *asked = &message->register_list;
    struct message *answer = message_new_reply(message, MESSAGE_register_list_reply, 0);
    struct register_list_reply *reply = &answer->register_list_reply;
    reply->status = replica_admit(replica, ctx, message);
    if (reply->status == OK)
        reply->status = replica_admit_mode(ctx, asked->keyspace_id, KEYSPACE_CONSISTENT);
    if (reply->status == OK)
        reply->status = replica_fence(replica, ctx, message, asked->keyspace_id, FENCE_QUESTION);
    if (reply->status == OK) /* who has lost what it accepted does not count */
        reply->status =
            vnode_votes(vnode_of(&replica->vnodes, asked->partition), asked->keyspace_id);
    if (reply->status == OK)
        reply->status = list_keys(replica, ctx, asked, &answer->arena, reply);
    replica_answer(replica, ctx, answer, reply->status == OK ? store_staged(ctx->store) : 0);
}
